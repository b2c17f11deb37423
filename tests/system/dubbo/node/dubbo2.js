// A consumer: dubbo2.js, directly connected. Orders and answers as sofa.js has them. Its heartbeat goes
// out every 180 s; with {"heartbeat": ms} in the first line every so many milliseconds.
'use strict';

const readline = require('readline');

const first = {};
const setIntervalAsIs = setInterval;
global.setInterval = (callback, ms) => setIntervalAsIs(callback, ms === 180000 && first.heartbeat ? first.heartbeat : ms);

const { DirectlyDubbo } = require('dubbo2.js');
const java = require('js-to-java');

const say = message => process.stdout.write(JSON.stringify(message) + '\n');
const methods = ['echo', 'fail', 'sleep', 'attachment', 'note', 'notes', 'hold', 'peak', 'who'];
let dubbo;
const services = new Map();

function proxy(attachments) {
  const key = JSON.stringify(attachments || {});
  if (!services.has(key)) {
    const service = { dubboInterface: 'com.acme.Orders', version: '1.0.0', timeout: 60000, methods: {} };
    if (attachments) service.attachments = attachments;
    for (const method of methods) {
      service.methods[method] = (...args) => args.map(value => Array.isArray(value) ? java.List(value) : java.String(value));
    }
    services.set(key, dubbo.proxyService(service));
  }
  return services.get(key);
}

async function call(one) {
  const { res, err } = await proxy(one.attachments)[one.method](...one.args);
  return err ? { error: String(err.message || err) } : { value: res };
}

async function main() {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const message = JSON.parse(line);
    if (dubbo) {
      say(await Promise.all(message.map(call)));
      continue;
    }
    Object.assign(first, message);
    dubbo = DirectlyDubbo.from({ dubboAddress: message.servers ? message.servers[0] : `127.0.0.1:${message.port}`, dubboVersion: '2.0.2', dubboInvokeTimeout: 60 });
    say({});
  }
  process.exit(0);
}

main();
