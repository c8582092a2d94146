"""readme_test.py BINARIES COMPILER INCLUDES... ADDRESS: the snippets of every README, as a reader would try them.

    ```json               saved under the last `NAME.json` named before it
    ```console            its `$ ` lines run in one shell; each other line must appear in the output, in order
    ```console PLACE      run elsewhere: PLACE must exist
    ```cpp                compiled, all together
    ```cmake              must stand in the test of the installed library
    ```yaml               compose services, whose variables must be flags of the server
    ```python             run by tests/client/python/test_readme.py
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
binaries, compiler, *includes, address = sys.argv[1:]
failures = []


def fail(where, text):
    failures.append(f"{where}: {text}")


def squeezed(text):
    return re.sub(r"\s+", " ", text).strip()


def run_console(where, block, folder):
    commands = re.sub(r" \|\n\s+", " | ", block).splitlines()
    script = [line[2:] for line in commands if line.startswith("$ ")]
    # The server is running already.
    script = [line for line in script if not re.search(r"bilevel_server\b.*&$", line)]
    if "bilevel: " not in block:  # no error is announced
        script.insert(0, "set -eo pipefail")
    environment = dict(os.environ, BILEVEL_SERVER=address, PATH=f"{binaries}:{os.environ['PATH']}")
    done = subprocess.run(
        ["bash", "-c", "\n".join(script)], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    if done.returncode != 0 and "bilevel: " not in block:
        fail(where, f"{script} ended with {done.returncode}: {done.stderr}")
    output = squeezed(done.stdout + " " + done.stderr)
    at = 0
    for line in (squeezed(line) for line in commands if line and not line.startswith("$ ")):
        found = output.find(line, at)
        if found < 0:
            fail(
                where, f"{line!r} is not (or not in this order) in the output of {script}:\n{done.stdout}{done.stderr}"
            )
            return
        at = found + len(line)


def check_compose(where, block):
    flags = subprocess.run([f"{binaries}/bilevel_server", "--help"], capture_output=True, text=True).stdout
    for service in yaml.safe_load(block)["services"].values():
        if not (REPOSITORY / service["build"]["dockerfile"]).is_file():
            fail(where, "the Dockerfile is not there")
        for variable in service["environment"]:
            if f"--{variable.removeprefix('BILEVEL_').lower()} " not in flags:
                fail(where, f"{variable} is no flag of bilevel_server")


def compile_cpp(blocks):
    lines = [line for _, block in blocks for line in block.splitlines()]
    head = [line for line in lines if line.startswith("#include")]
    bodies = []
    for _, block in blocks:
        body = "\n".join(line for line in block.splitlines() if not line.startswith("#include"))
        bodies.append("{\n" + body + "\n}")
    first, rest = bodies[0][2:-2], bodies[1:]
    source = "\n".join(
        head
        + ["#include <iostream>", "namespace v1 = bilevel::v1;"]
        + ["absl::Status Snippets(const bilevel::v1::Problem& problem) {", first]
        + ["{", "bilevel::v1::OptimizeRequest request;", "bilevel::v1::Hypergradient best;", *rest, "}"]
        + ["(void)gradient; (void)bound;", "return absl::OkStatus();", "}"]
    )
    with tempfile.NamedTemporaryFile("w", suffix=".cc") as file:
        file.write(source)
        file.flush()
        command = [compiler, "-std=c++20", "-fsyntax-only", *(f"-I{path}" for path in includes), file.name]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        fail(blocks[0][0], done.stderr[:2000])


counts = {}
for readme in sorted(REPOSITORY.glob("**/README.md")):
    name = readme.relative_to(REPOSITORY)
    if any(part.startswith(".") or part == "node_modules" for part in name.parts):
        continue
    text = readme.read_text()
    cpp = []
    with tempfile.TemporaryDirectory() as folder:
        # Commands of the top README are given from the repository's root.
        place = REPOSITORY if str(name) == "README.md" else folder
        for match in re.finditer(r"^```(\w*) ?(\S*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            kind, elsewhere, block = match.groups()
            where = f"{name}:{text[: match.start()].count(chr(10)) + 1}"
            counts[kind] = counts.get(kind, 0) + 1
            if kind == "json":
                named = re.findall(r"`(\w+\.json)`", text[: match.start()])
                if not named:
                    fail(where, "no `NAME.json` before it")
                    continue
                (pathlib.Path(folder) / named[-1]).write_text(block)
            elif kind == "console" and elsewhere:
                if not (REPOSITORY / elsewhere).exists():
                    fail(where, f"{elsewhere} does not exist")
            elif kind == "console":
                run_console(where, block, place)
            elif kind == "cpp":
                cpp.append((where, block))
            elif kind == "cmake":
                test = (REPOSITORY / "tests/client/install_test.sh").read_text()
                for line in block.splitlines():
                    if line.split("(")[0] not in test:
                        fail(where, f"tests/client/install_test.sh has no {line}")
            elif kind == "yaml":
                check_compose(where, block)
            elif kind != "python":
                fail(where, f"a snippet of kind {kind!r}, which no test runs")
    if cpp:
        compile_cpp(cpp)

print(", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
if counts.get("console", 0) < 8 or counts.get("json", 0) < 3:
    fail("readme_test.py", f"found too few snippets: {counts}")
print("\n".join(failures))
sys.exit(1 if failures else 0)
