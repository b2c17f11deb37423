"""Where clients come in: sockets that are bound here, or adopted, and the files of unix sockets."""
