// Calls a hub with grpc-js: a unary call, an error with its details, a stream that it cancels.
// Arguments: address, file with a FileDescriptorSet, token.
"use strict";
const fs = require("node:fs");
const grpc = require("@grpc/grpc-js");
const { loadFileDescriptorSetFromBuffer } = require("@grpc/proto-loader");

const [address, descriptors, token] = process.argv.slice(2);
const hub = grpc.loadPackageDefinition(
  loadFileDescriptorSetFromBuffer(fs.readFileSync(descriptors), { keepCase: true }),
).llmhub.v1;
const client = new hub.RegistryService(address, grpc.credentials.createInsecure());
const metadata = new grpc.Metadata();
metadata.set("authorization", `Bearer ${token}`);
const deadline = () => ({ deadline: Date.now() + 20_000 });

const call = (method, request) =>
  new Promise((resolve) =>
    client[method](request, metadata, deadline(), (error, reply) => resolve({ error, reply })),
  );

const firstOfStream = () =>
  new Promise((resolve, reject) => {
    const stream = client.WatchRegistry({}, metadata, deadline());
    stream.once("data", (response) => {
      stream.cancel();
      resolve(Object.keys(response));
    });
    stream.once("error", (error) => {
      if (error.code !== grpc.status.CANCELLED) reject(error);
    });
  });

async function main() {
  const snapshot = (await call("GetSnapshot", {})).reply.snapshot;
  const missing = (await call("GetEndpoint", { id: "no.such:1" })).error;
  const many = await Promise.all(Array.from({ length: 200 }, () => call("GetSnapshot", {})));
  console.log(
    JSON.stringify({
      endpoints: snapshot.endpoints.map((endpoint) => endpoint.id),
      code: missing.code,
      details: missing.metadata.get("grpc-status-details-bin")[0].toString("latin1"),
      answered: many.filter(({ error }) => !error).length,
      watched: (await firstOfStream()).length > 0,
    }),
  );
  client.close();
}

main();
