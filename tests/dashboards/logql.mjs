// Parses queries of LogQL, one a line, and says where one of them is none.
import { readFileSync } from "node:fs";
import { parser } from "@grafana/lezer-logql";

for (const query of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  parser.parse(query).iterate({
    enter: ({ type, from }) => {
      if (type.isError) {
        console.error(`at ${from}: ${query}`);
        process.exitCode = 1;
      }
    },
  });
}
