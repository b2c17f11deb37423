// A provider: sofa-rpc-node's server with js-remoting-for-apache-dubbo. One line of orders on stdin
// ({"port": 0}), one line when it listens; it ends when its stdin does.
//
// `hold` is answered when `release` has come; `peak` tells how many of its calls were at once; `note` is called
// one-way. Nothing empty is ever returned: js-remoting writes null, "" and 0 as no result at all.
'use strict';

const readline = require('readline');
const { RpcServer } = require('sofa-rpc-node').server;
const protocol = require('js-remoting-for-apache-dubbo');

const INTERFACE = 'com.acme.Orders';
const logger = { info() {}, warn: console.error, error() {}, debug() {} };
const later = ms => new Promise(resolve => setTimeout(resolve, ms));
const say = message => process.stdout.write(JSON.stringify(message) + '\n');

let now = 0, peak = 0, notes = [], free;
const released = new Promise(resolve => { free = resolve; });

const service = {
  async echo(value) { return value; },
  async fail(text) { throw new Error(text); },
  async sleep(ms, text) { await later(Number(ms)); return text; },
  async attachment(name) { return this.attachments[name] || 'none'; },
  async note(text) { notes.push(text); return 'noted'; },
  async notes() { return notes.join(',') || 'none'; },
  async hold(text) {
    peak = Math.max(peak, ++now);
    await released;
    now--;
    return text;
  },
  async release() { free(); return 'released'; },
  async peak() { return String(peak); },
  async who() { return String(process.pid); },
};

class Server extends RpcServer {
  createContext(req) { return { attachments: req.data.requestProps, logger }; }
}

async function main(orders) {
  const server = new Server({ appName: 'orders', port: orders.port, protocol, logger, version: '1.0.0' });
  server.on('error', () => {}); // what a service throws is its business
  server.addService({ interfaceName: INTERFACE, version: '1.0.0' }, service);
  await server.start();
  say({ port: server.publishPort, pid: process.pid });
}

const lines = readline.createInterface({ input: process.stdin });
lines.once('line', line => main(JSON.parse(line)));
lines.once('close', () => process.exit(0));
