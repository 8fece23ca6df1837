// Runs the tree-sitter library in the directory MODULES with the parser that was compiled there, as the command line of tree-sitter
// would do it:
//
//   node tree_sitter.js MODULES test GRAMMAR            the corpus of the grammar
//   node tree_sitter.js MODULES captures GRAMMAR FILE   what the highlight queries capture
const fs = require("fs");
const path = require("path");

const [modules, command, grammar, file] = process.argv.slice(2);
const Parser = require(path.join(modules, "node_modules", "tree-sitter"));
const language = require(path.join(modules, "lb.node"));
const parser = new Parser();
parser.setLanguage(language);

/** The tree of a text. */
function tree(text) {
  // The library takes no string of more than 32 KiB at once.
  return parser.parse((index) => text.slice(index, index + 4096)).rootNode;
}

/** A tree as text, without names of fields and with single blanks. */
function plain(tree) {
  return tree.replace(/[a-z_]+: \(/g, "(").replace(/\s+/g, " ").replace(/ \)/g, ")").trim();
}

/** Compares every tree of the corpus; how many there were. */
function corpus() {
  let count = 0;
  const directory = path.join(grammar, "test", "corpus");
  for (const name of fs.readdirSync(directory).sort()) {
    const parts = fs.readFileSync(path.join(directory, name), "utf8").split(/^=+\n(.*)\n=+\n/m);
    for (let at = 1; at < parts.length; at += 2) {
      const [text, wanted] = parts[at + 1].split(/^---+$/m);
      const found = plain(tree(text.replace(/^\n/, "").replace(/\n$/, "")).toString());
      if (found !== plain(wanted)) {
        throw new Error(`${name}: ${parts[at]}\nwanted ${plain(wanted)}\nfound  ${found}`);
      }
      count += 1;
    }
  }
  return count;
}

switch (command) {
  case "test": {
    const count = corpus();
    if (count === 0) throw new Error("an empty corpus");
    console.log(`${count} trees`);
    break;
  }
  case "captures": {
    const text = fs.readFileSync(file, "utf8");
    const [root, lines] = [tree(text), text.split("\n")];
    if (root.hasError) throw new Error(`${file}: ${root}`);
    const query = new Parser.Query(language, fs.readFileSync(path.join(grammar, "queries", "highlights.scm"), "utf8"));
    for (const { name, node } of query.captures(root)) {
      // Columns in bytes, as the command line tells them.
      const place = ({ row, column }) => `(${row}, ${Buffer.byteLength(lines[row].slice(0, column))})`;
      console.log(`capture: 0 - ${name}, start: ${place(node.startPosition)}, end: ${place(node.endPosition)}`);
    }
    break;
  }
  default:
    throw new Error(`no command ${command}`);
}
