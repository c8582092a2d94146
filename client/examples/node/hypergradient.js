// node hypergradient.js ADDRESS PROTO_FOLDER: a hyper-gradient by hand, then an error with its canonical details.
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";
import files from "google-proto-files";

const [address, protos] = process.argv.slice(2);
const options = { keepCase: true, longs: Number, enums: String, includeDirs: [protos] };
const { SolverService } = grpc.loadPackageDefinition(
  loader.loadSync("bilevel/v1/solver_service.proto", options)).bilevel.v1;
const client = new SolverService(address, grpc.credentials.createInsecure());

const numbers = (list) => ({ values: { list } });
const rows = (list) => ({ dense: numbers(list) });
// Two states, see client/README.md: at x = 0 the objective is 1/2 and the gradient -1/4.
const problem = (discount) => ({
  num_parameters: 1, sense: "SENSE_MAXIMIZE", contexts: [{
    discount, temperature: 0.5, reward: { features: rows([0, 0, 1, 1]) },
    environment: { num_states: 2, num_actions: 2, transitions: rows([1, 0, 0, 1, 1, 0, 0, 1]),
      initial_distribution: numbers([1, 0]) },
    objective: [{ leader_return: { reward: { base: numbers([0, 0, 1, 1]), features: rows([0, 0, -1, -1]) } } }] }] });
const evaluate = (request) => new Promise((resolve, reject) =>
  client.EvaluateHypergradient(request, { deadline: Date.now() + 10000 }, (e, r) => (e ? reject(e) : resolve(r))));

const [point] = (await evaluate({ problem: problem(0.5) })).points;
const gradient = point.gradient.raw.readDoubleLE(0);
console.log(`objective ${point.objective}, gradient ${gradient}, error bound ${point.certificate.error_bound}`);

const root = files.loadSync(files.getProtoPath("rpc/status.proto"));
root.loadSync(files.getProtoPath("rpc/error_details.proto"));
let field = "";
await evaluate({ problem: problem(1) }).catch((error) => {
  const [status] = error.metadata.get("grpc-status-details-bin");
  for (const detail of root.lookupType("google.rpc.Status").decode(status).details) {
    const message = root.lookupType(detail.type_url.split("/")[1]).decode(detail.value);
    if (message.fieldViolations) field = message.fieldViolations[0].field;
  }
  console.log(`${grpc.status[error.code]} at ${field}`);
});
client.close();
process.exitCode = Math.abs(point.objective - 0.5) < 1e-9 && Math.abs(gradient + 0.25) < 1e-9 &&
  field === "problem.contexts[0].discount" ? 0 : 1;
