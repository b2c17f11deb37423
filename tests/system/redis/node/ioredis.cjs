// What a program does with ioredis: prints what it saw, one JSON line. Arguments: host, port.
"use strict";
const Redis = require("ioredis");
const [host, port] = [process.argv[2], Number(process.argv[3])];
const story = [];
const tell = (value) => story.push(value);
const error = (promise) => promise.then(() => "no error", (reason) => reason.message);
const clients = [];
const make = (options = {}) => {
  const client = new Redis({ host, port, retryStrategy: null, ...options });
  clients.push(client);
  return client;
};

async function main() {
  const redis = make({ connectionName: "story" });
  tell(await redis.client("GETNAME"));
  tell(await redis.set("key", "value", "EX", 100));
  tell(await redis.get("key"));
  tell((await redis.getBuffer("key")).toString("hex"));
  tell(await redis.hset("hash", { a: 1, b: 2 }));
  tell(await redis.hgetall("hash"));
  tell(await redis.mget("key", "missing"));
  tell(await error(redis.incr("key")));
  tell(await error(redis.call("NOSUCHCOMMAND", "a")));
  tell((await redis.set("large", "x".repeat(1000000))) + (await redis.strlen("large")));

  tell(await redis.pipeline().set("p", 1).incr("p").get("p").exec());
  tell(await redis.multi().set("m", 1).incr("m").get("m").exec());
  tell(await error(redis.multi().set("m", 1).call("GET").exec()));
  // A transaction in pieces.
  await redis.multi({ pipeline: false });
  tell(await redis.set("m", 5));
  tell(await redis.incr("m"));
  tell(await redis.exec());
  await redis.watch("m");
  await make().set("m", 7);
  tell(await redis.multi().incr("m").exec());

  redis.defineCommand("double", { numberOfKeys: 1, lua: "return redis.call('GET', KEYS[1]) * 2" });
  tell([await redis.double("m"), await redis.double("m")]);

  const automatic = make({ enableAutoPipelining: true, db: 2 });
  tell(await Promise.all([...Array(100).keys()].map((n) => automatic.set(`k${n}`, n).then(() => automatic.get(`k${n}`)))));
  tell([await automatic.dbsize(), await redis.exists("k1")]);
  tell(await automatic.select(3));
  tell(await automatic.dbsize());

  const blocked = make();
  const pop = blocked.blpop("queue", "other", 20);
  await redis.rpush("other", "job");
  tell(await pop);
  tell(await blocked.brpop("never", 0.05));

  const subscriber = make();
  const messages = [];
  const seen = new Promise((resolve) => {
    subscriber.on("message", (channel, message) => {
      messages.push([channel, message]);
      if (message === "last") resolve();
    });
  });
  tell(await subscriber.subscribe("news", "sport"));
  for (const message of ["one", "two", "last"]) await redis.publish("news", message);
  await seen;
  tell(messages);
  tell(await error(subscriber.get("key")));
  tell(await subscriber.unsubscribe());
  tell(await subscriber.get("key"));

  const stream = redis.scanStream({ match: "m*", count: 10 });
  const found = [];
  for await (const keys of stream) found.push(...keys);
  tell(found.sort());
  await redis.quit();
  for (const client of clients) client.disconnect();
  console.log(JSON.stringify(story));
}
main().catch((reason) => {
  console.error(reason);
  process.exit(1);
});
