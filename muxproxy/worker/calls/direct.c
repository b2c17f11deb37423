/* plain.py, where it is told what each call means, in C. tests/worker/calls holds the two together.

   None of these calls waits, so the interpreter is not given away for them (no Py_BEGIN_ALLOW_THREADS), and
   nothing of Python's runs between a system call and what is made of its result. EINTR: nothing was done. */

#define PY_SSIZE_T_CLEAN
#define _GNU_SOURCE /* accept4 */
#include <Python.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define AT_ONCE (16 * 1024)

/* False: it is none, and an exception says so. */
static bool
as_descriptor(PyObject *given, int *descriptor)
{
    long number = PyLong_AsLong(given);
    if (number == -1 && PyErr_Occurred())
        return false;
    if (number < INT_MIN || number > INT_MAX) {
        PyErr_SetString(PyExc_OverflowError, "no descriptor is that large");
        return false;
    }
    *descriptor = (int)number;
    return true;
}

static bool
are_so_many(Py_ssize_t given, Py_ssize_t wanted)
{
    if (given == wanted)
        return true;
    PyErr_Format(PyExc_TypeError, "%zd arguments, not %zd", wanted, given);
    return false;
}

static PyObject *
direct_accept(PyObject *module, PyObject *given)
{
    int listener, accepted;
    if (!as_descriptor(given, &listener))
        return NULL;
    do
        accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    while (accepted < 0 && errno == EINTR);
    PyObject *result = PyLong_FromLong(accepted < 0 ? -errno : accepted);
    if (result == NULL && accepted >= 0)
        close(accepted); /* nobody will know of it */
    return result;
}

static PyObject *
direct_receive(PyObject *module, PyObject *given)
{
    char buffer[AT_ONCE];
    int descriptor;
    ssize_t size;
    if (!as_descriptor(given, &descriptor))
        return NULL;
    do
        size = recv(descriptor, buffer, sizeof(buffer), MSG_DONTWAIT);
    while (size < 0 && errno == EINTR);
    if (size >= 0)
        return PyBytes_FromStringAndSize(buffer, size);
    if (errno == EAGAIN)
        Py_RETURN_NONE;
    return PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *
direct_send(PyObject *module, PyObject *const *given, Py_ssize_t count)
{
    int descriptor, error;
    Py_buffer data;
    ssize_t sent;
    if (!are_so_many(count, 3) || !as_descriptor(given[0], &descriptor))
        return NULL;
    int is_last = PyObject_IsTrue(given[2]);
    if (is_last < 0 || PyObject_GetBuffer(given[1], &data, PyBUF_SIMPLE) < 0)
        return NULL;
    do
        sent = send(descriptor, data.buf, (size_t)data.len,
                    MSG_DONTWAIT | MSG_NOSIGNAL | (is_last ? MSG_MORE : 0));
    while (sent < 0 && errno == EINTR);
    error = errno;
    PyBuffer_Release(&data); /* may run anything */
    if (sent >= 0)
        return PyLong_FromSsize_t(sent);
    if (error == EAGAIN)
        return PyLong_FromLong(0);
    errno = error;
    return PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *
direct_close(PyObject *module, PyObject *given)
{
    int descriptor;
    if (!as_descriptor(given, &descriptor))
        return NULL;
    if (close(descriptor) < 0 && errno == EBADF)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

/* Of one epoll, whose descriptor is `self`. */
static PyObject *
direct_watch(PyObject *self, PyObject *given)
{
    int epoll, descriptor;
    if (!as_descriptor(self, &epoll) || !as_descriptor(given, &descriptor))
        return NULL;
    struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = (uint32_t)descriptor}};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event) < 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

static PyMethodDef watch = {"watch", direct_watch, METH_O, NULL};

static PyObject *
direct_watcher(PyObject *module, PyObject *given)
{
    int descriptor = PyObject_AsFileDescriptor(given);
    if (descriptor < 0)
        return NULL;
    PyObject *epoll = PyLong_FromLong(descriptor);
    if (epoll == NULL)
        return NULL;
    PyObject *watcher = PyCFunction_New(&watch, epoll);
    Py_DECREF(epoll); /* the watcher has its own */
    return watcher;
}

static PyMethodDef functions[] = {
    {"accept", direct_accept, METH_O, NULL},
    {"receive", direct_receive, METH_O, NULL},
    {"send", (PyCFunction)(void (*)(void))direct_send, METH_FASTCALL, NULL},
    {"close", direct_close, METH_O, NULL},
    {"watcher", direct_watcher, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static int
fill(PyObject *module)
{
    return PyModule_AddIntConstant(module, "AT_ONCE", AT_ONCE);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, fill}, {0, NULL}};

static struct PyModuleDef direct = {
    PyModuleDef_HEAD_INIT, .m_name = "direct", .m_methods = functions, .m_slots = slots};

PyMODINIT_FUNC
PyInit_direct(void)
{
    return PyModuleDef_Init(&direct);
}
