#!/usr/bin/env node
// Starts the program of the package for this platform, as if it had been started itself: with the
// same input, output, signals and exit code.
"use strict";

const { spawn } = require("node:child_process");
const { constants } = require("node:os");
const { optionalDependencies } = require("../package.json");

const name = `@stepladder/${process.platform}-${process.arch}`;

function stop(sentence) {
  console.error(`stepladder: ${sentence}`);
  process.exit(1);
}

function find() {
  if (!(name in optionalDependencies)) {
    stop(
      `there is no package for ${process.platform} on ${process.arch}, only ` +
        `${Object.keys(optionalDependencies).join(", ")}; build it with \`cargo install stepladder-cli\``,
    );
  }
  try {
    return require.resolve(`${name}/bin/stepladder`);
  } catch {
    const { header } = process.platform === "linux" ? process.report.getReport() : { header: {} };
    if (process.platform === "linux" && !header.glibcVersionRuntime) {
      stop(`${name} needs glibc, which this system lacks; build it with \`cargo install stepladder-cli\``);
    }
    stop(
      `the package ${name} is missing. npm leaves it out with --omit=optional, and if node_modules was copied from ` +
        "another platform; install `stepladder` again on this machine, without that option",
    );
  }
}

const child = spawn(find(), process.argv.slice(2), { stdio: "inherit" });
child.on("error", (error) => stop(`the program does not start: ${error.message}`));

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
  process.on(signal, () => {
    // a terminal sends Ctrl-C to both processes; the program would take a second one as "stop at once"
    if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
  });
}
child.on("exit", (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
