// A consumer: sofa-rpc-node's client with js-remoting-for-apache-dubbo. The first line on stdin says where to
// connect ({"port": N}, or {"servers": ["host:port"]}); every other line is a list of calls, made at once:
// {"method", "args", "attachments"}, answered by one line of {"value"} or {"error"} in their order.
// {"heartbeat": true} in a call's place sends one.
'use strict';

const readline = require('readline');
const { RpcClient } = require('sofa-rpc-node').client;
const protocol = require('js-remoting-for-apache-dubbo');

const logger = { info() {}, warn: console.error, error: console.error, debug() {} };
const say = message => process.stdout.write(JSON.stringify(message) + '\n');
let consumer, client;

async function call(one) {
  if (one.heartbeat) {
    for (const connection of await client.connectionManager.connections.values()) {
      connection._lastActiveTime = 0; // or it would find it too early
      connection.heartbeat();
    }
    return { value: 'sent' };
  }
  const args = one.args.map(value => Array.isArray(value) ? { $class: 'java.util.List', $: value } : { $class: 'java.lang.String', $: value });
  try {
    const value = await consumer.invoke(one.method, args, { responseTimeout: 60000, requestProps: one.attachments });
    return { value };
  } catch (error) {
    return { error: error.message };
  }
}

async function start(orders) {
  const servers = orders.servers || [`127.0.0.1:${orders.port}`];
  client = new RpcClient({ logger, protocol });
  client.on('error', () => {});
  consumer = client.createConsumer({
    interfaceName: 'com.acme.Orders', version: '1.0.0', serverHost: servers.map(server => `dubbo://${server}`).join(','),
    responseTimeout: 60000, connectionOpts: { protocol },
  });
  await consumer.ready();
  say({});
}

async function main() {
  let ready = false;
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const message = JSON.parse(line);
    if (ready) say(await Promise.all(message.map(call)));
    else await start(message);
    ready = true;
  }
  process.exit(0);
}

main();
