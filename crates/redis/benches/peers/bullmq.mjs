// BullMQ end to end: bullmq.mjs REDIS_URL TASKS. One process with 50 jobs at a time drains what was queued before. One JSON line.
import { Queue, Worker } from "bullmq";

const [url, tasks] = [new URL(process.argv[2]), Number(process.argv[3])];
const connection = { host: url.hostname, port: Number(url.port), maxRetriesPerRequest: null };
const queue = new Queue("bench", { connection });
const seconds = () => performance.now() / 1000;

const started = seconds();
for (let sent = 0; sent < tasks; sent += 100) {
  const size = Math.min(100, tasks - sent);
  await queue.addBulk(Array.from({ length: size }, () => ({ name: "answer", data: "p".repeat(300) })));
}
const queued = seconds();
let left = tasks;
await new Promise((resolve) => {
  new Worker("bench", async () => "answer", { connection, concurrency: 50 }).on("completed", () => --left || resolve());
});
const finished = seconds();
console.log(JSON.stringify({ name: "BullMQ 6.7.0", enqueue: tasks / (queued - started), drain: tasks / (finished - queued) }));
process.exit(0);
