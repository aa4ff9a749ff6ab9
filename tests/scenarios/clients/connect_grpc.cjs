// Calls a hub with Connect's gRPC mode: a unary call, an error with its details, a stream.
// Arguments: address, file with a FileDescriptorSet, token.
"use strict";
const fs = require("node:fs");
const { createFileRegistry, fromBinary } = require("@bufbuild/protobuf");
const { FileDescriptorSetSchema } = require("@bufbuild/protobuf/wkt");
const { createClient, ConnectError } = require("@connectrpc/connect");
const { createGrpcTransport } = require("@connectrpc/connect-node");

const [address, descriptors, token] = process.argv.slice(2);
const registry = createFileRegistry(
  fromBinary(FileDescriptorSetSchema, fs.readFileSync(descriptors)),
);
const authorize = (next) => (request) => {
  request.header.set("authorization", `Bearer ${token}`);
  return next(request);
};
const transport = createGrpcTransport({
  baseUrl: `http://${address}`,
  interceptors: [authorize],
  defaultTimeoutMs: 20_000,
});
const client = createClient(registry.getService("llmhub.v1.RegistryService"), transport);

async function failure(call) {
  try {
    await call;
  } catch (error) {
    return ConnectError.from(error);
  }
  throw new Error("the call did not fail");
}

async function main() {
  const { snapshot } = await client.getSnapshot({});
  const missing = await failure(client.getEndpoint({ id: "no.such:1" }));
  const many = await Promise.all(Array.from({ length: 200 }, () => client.getSnapshot({})));
  let watched = false;
  for await (const _ of client.watchRegistry({})) {
    watched = true;
    break;
  }
  console.log(
    JSON.stringify({
      endpoints: snapshot.endpoints.map((endpoint) => endpoint.id),
      code: missing.code,
      details: missing.details.map((detail) => detail.type).join(),
      answered: many.length,
      watched,
    }),
  );
  process.exit(0);
}

main();
