// What a program does with node-redis: prints what it saw, one JSON line. Arguments: host, port, RESP version.
"use strict";
const { createClient, WatchError } = require("redis");
const [host, port, RESP] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
const story = [];
const tell = (value) => story.push(value);
const error = (promise) => promise.then(() => "no error", (reason) => reason.message);
const clients = [];
const make = async (options = {}) => {
  const client = createClient({ RESP, socket: { host, port, reconnectStrategy: false }, ...options });
  client.on("error", (reason) => console.error(reason));
  clients.push(client);
  return client.connect();
};

async function main() {
  const redis = await make({ name: "story" });
  tell(await redis.clientGetName());
  tell(await redis.set("key", "value", { expiration: { type: "EX", value: 100 } }));
  tell(await redis.get("key"));
  tell(await redis.hSet("hash", { a: 1, b: 2 }));
  tell(await redis.hGetAll("hash"));
  tell(await redis.sendCommand(["HGETALL", "hash"]));
  tell(await redis.mGet(["key", "missing"]));
  tell(await redis.zAdd("zset", [{ score: 1.5, value: "a" }]));
  tell(await redis.zScore("zset", "a"));
  tell(await error(redis.incr("key")));
  tell(await error(redis.sendCommand(["NOSUCHCOMMAND", "a"])));
  tell((await redis.set("large", "x".repeat(1000000))) + (await redis.strLen("large")));

  tell(await Promise.all([redis.set("p", 1), redis.incr("p"), redis.get("p")]));
  tell(await redis.multi().set("m", 1).incr("m").get("m").exec());
  tell(await redis.multi().set("m", 1).incr("m").execAsPipeline());
  const other = await make();
  await redis.watch("m");
  await other.set("m", 7);
  tell(await redis.multi().incr("m").exec().then(() => "no error", (reason) => reason instanceof WatchError));
  tell(await redis.eval("return {KEYS[1], ARGV[1]}", { keys: ["k"], arguments: ["v"] }));

  const second = await make({ database: 2 });
  tell(await Promise.all([...Array(100).keys()].map((n) => second.set(`k${n}`, n).then(() => second.get(`k${n}`)))));
  tell([await second.dbSize(), await redis.exists("k1")]);
  await second.select(3);
  tell(await second.dbSize());

  const pop = other.blPop(["queue", "other"], 20);
  await redis.rPush("other", "job");
  tell(await pop);
  tell(await other.brPop("never", 0.05));

  const subscriber = await make();
  const messages = [];
  await new Promise(async (resolve) => {
    const listener = (message, channel) => {
      messages.push([channel, message]);
      if (message === "last") resolve();
    };
    await subscriber.subscribe("news", listener);
    await subscriber.pSubscribe("s*", listener);
    for (const message of ["one", "two"]) await redis.publish("news", message);
    await redis.publish("sport", "last");
  });
  tell(messages);
  await subscriber.unsubscribe("news");
  await subscriber.pUnsubscribe();
  tell(await subscriber.get("key"));

  const found = [];
  for await (const keys of redis.scanIterator({ MATCH: "m*", COUNT: 10 })) found.push(...keys);
  tell(found.sort());
  for (const client of clients) await client.close();
  console.log(JSON.stringify(story));
}
main().catch((reason) => {
  console.error(reason);
  process.exit(1);
});
