// Serves fauxqs for the contract test of pkg/queue. fauxqs's own command listens on every interface; this one keeps to
// loopback, takes a free port, says so on the first line of its output and ends when its input does.
import { buildApp } from "fauxqs";

const app = buildApp({ logger: false });
await app.listen({ host: "127.0.0.1", port: 0 });
console.log(JSON.stringify({ port: app.server.address().port }));
process.stdin.on("end", () => process.exit(0)).resume();
