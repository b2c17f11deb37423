// An app with ioredis' Cluster. The first line on stdin: {"nodes": [[host, port]], "tags": [...]}. For each tag a
// loop that writes and reads keys of that slot, until the next line. Then: {"rounds", "wrong", "errors": {text: number}}.
// What has failed is done again, as an app would, so what is read is known.
"use strict";
const readline = require("readline");
const { Cluster } = require("ioredis");

const say = (message) => process.stdout.write(JSON.stringify(message) + "\n");
const result = { rounds: 0, wrong: [], errors: {} };
let stopped = false;

const values = (results) => results.map(([error, value]) => { if (error) throw error; return value; });

async function step(what, expected, action) {
  for (;;) {
    try {
      const got = JSON.stringify(await action());
      if (got !== JSON.stringify(expected)) result.wrong.push(`${what}: ${got}, not ${JSON.stringify(expected)}`);
      return;
    } catch (error) {
      const text = String(error.message);
      result.errors[text] = (result.errors[text] || 0) + 1;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

async function loop(cluster, tag) {
  const key = (name) => `{${tag}}:ioredis:${name}`;
  const [a, b, c] = [key("a"), key("b"), key("c")];
  for (let n = 1; !stopped; n++, result.rounds++) {
    const fresh = key(n % 50); // some are there yet, some are not
    await step("SET", "OK", () => cluster.set(fresh, n));
    await step("GET", String(n), () => cluster.get(fresh));
    await step("MSET", "OK", () => cluster.mset(a, n, b, -n));
    await step("MGET", [String(n), String(-n)], () => cluster.mget(a, b));
    await step("pipeline", ["OK", n + 1, String(n + 1)], async () =>
      values(await cluster.pipeline().set(c, n).incr(c).get(c).exec()));
    await step("MULTI", ["OK", n + 1, String(n + 1)], async () =>
      values(await cluster.multi().set(c, n).incr(c).get(c).exec()));
  }
}

async function main() {
  let done, cluster;
  for await (const line of readline.createInterface({ input: process.stdin })) {
    if (done) {
      stopped = true;
      await done;
      cluster.disconnect();
      break;
    }
    const orders = JSON.parse(line);
    cluster = new Cluster(orders.nodes.map(([host, port]) => ({ host, port })));
    cluster.on("error", () => {});
    done = Promise.all(orders.tags.map((tag) => loop(cluster, tag)));
    say({});
  }
  say(result);
  process.exit(0);
}
main();
