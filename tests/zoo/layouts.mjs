// What transformers.js says of folders: a line of JSON in, {root, tasks: {folder: class}, texts, modules}, and one out.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const { root, tasks, texts, modules } = JSON.parse(readFileSync(0, "utf8"));
const here = createRequire(`${modules}/node_modules/`);
const hf = await import(pathToFileURL(here.resolve("@huggingface/transformers")));
hf.env.allowRemoteModels = false;
hf.env.localModelPath = root;
const said = {};
for (const [folder, kind] of Object.entries(tasks)) {
  const tokenizer = await hf.AutoTokenizer.from_pretrained(folder);
  const model = await hf[kind].from_pretrained(folder, { dtype: "q8" });
  said[folder] = [];
  for (const text of texts) {
    const inputs = tokenizer(text);
    const outputs = await model(inputs);
    const named = Object.entries(outputs).filter(([, value]) => value?.data);
    said[folder].push({
      ids: [...inputs.input_ids.data].map(Number),
      outputs: Object.fromEntries(named.map(([name, { dims, data }]) => [name, { dims, data: [...data] }])),
    });
  }
}
console.log(JSON.stringify(said));
