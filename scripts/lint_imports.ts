/**
 * A `deno lint` plugin that holds the house's import direction: imports go down the list of rows and nowhere
 * else, the environment is read in main.ts only, and assertions stay in tests.
 */

/** The rows of the house from top to bottom; units that share a row never import each other. */
export const ROWS: readonly (readonly string[])[] = [
  ["main"],
  ["app", "doctor"],
  ["config"],
  ["acp", "demo", "openai", "events", "clawd", "stage"],
  ["http"],
  ["conversation"],
  ["turn"],
  ["core"],
];

const SIDES = ROWS.findIndex((row) => row.includes("acp"));
const ORDER = ROWS.map((row, place) => place === SIDES ? "sides" : row.join(", ")).join(" > ");

/** The import that is wrong, in words that say what to do instead; undefined when it is fine. */
export function importFault(file: string, specifier: string): string | undefined {
  if (isAssert(specifier)) {
    if (file.startsWith("tests/")) return undefined;
    return `${file} may not import ${specifier}: assertions belong to tests; throw a Failure instead`;
  }
  const from = unitOf(file);
  const target = resolve(file, specifier);
  if (from === undefined || from === "main" || target === undefined) return undefined;
  const prefix = `${file} may not import ${target}:`;
  if (/^(tests|scripts)\//.test(target)) return `${prefix} the program stands on lib/ alone; move it there`;
  const to = unitOf(target);
  if (to === undefined || to === from) return undefined;
  const [upper, lower] = [rowOf(from), rowOf(to)];
  const unlisted = upper < 0 ? from : lower < 0 ? to : undefined;
  if (unlisted !== undefined) {
    return `${prefix} lib/${unlisted} stands in no row; give it one in scripts/lint_imports.ts`;
  }
  if (lower > upper) return undefined;
  if (lower === SIDES && upper === SIDES) {
    return `${prefix} sides never import each other; take a function from lib/app.ts`;
  }
  if (lower <= rowOf("app")) {
    return `${prefix} only main.ts imports ${target}; take what you need as a parameter`;
  }
  const remedy = to === "config"
    ? "take a slice of options as a parameter"
    : "take a function as a parameter";
  return `${prefix} imports go down (${ORDER}) and ${to} stands above ${from}; ${remedy}`;
}

/** The plugin for a project in this folder, a path or file URL in the form of any operating system. */
export function createPlugin(root: string): Deno.lint.Plugin {
  return {
    name: "house",
    rules: {
      "import-direction": {
        create(context) {
          const file = relative(root, context.filename);
          const check = (node: Deno.lint.Node | null) => {
            const specifier = node === null ? undefined : literal(node);
            const message = specifier === undefined ? undefined : importFault(file, inside(root, specifier));
            if (node !== null && message !== undefined) context.report({ node, message });
          };
          return {
            ImportDeclaration: (node) => check(node.source),
            ExportNamedDeclaration: (node) => check(node.source),
            ExportAllDeclaration: (node) => check(node.source),
            ImportExpression: (node) => check(node.source),
            TSExternalModuleReference: (node) => check(node.expression),
            TSImportType: (node) => check(node.argument),
          };
        },
      },
      "env-in-main": {
        create(context) {
          const file = relative(root, context.filename);
          const unit = unitOf(file);
          if (unit === undefined || unit === "main") return {};
          const report = (node: Deno.lint.Node) =>
            context.report({
              node,
              message:
                `${file} may not read the environment: only main.ts does; take the value as a parameter`,
            });
          return {
            MemberExpression(node) {
              if (propertyName(node.property, node.computed) === "env" && isDeno(node.object)) report(node);
            },
            VariableDeclarator(node) {
              if (node.id.type !== "ObjectPattern" || !node.init || !isDeno(node.init)) return;
              for (const property of node.id.properties) {
                if (property.type === "Property" && propertyName(property.key, property.computed) === "env") {
                  report(property);
                }
              }
            },
          };
        },
      },
    },
  };
}

export default createPlugin(import.meta.resolve("../"));

/** The unit a file belongs to: `main`, or the first name below lib/; undefined for files outside. */
function unitOf(file: string): string | undefined {
  if (file === "main.ts") return "main";
  return /^lib\/([^/]+?)(?:\.[^./]+)?(?:\/|$)/.exec(file)?.[1];
}

function rowOf(unit: string): number {
  return ROWS.findIndex((row) => row.includes(unit));
}

function isAssert(specifier: string): boolean {
  return /^(jsr:\/?)?@std\/assert(?=[@/]|$)|^npm:\/?deno-std(@[^/]*)?\/assert(?=[/.]|$)/.test(specifier);
}

/** The project's file that a relative or rooted specifier names; undefined for everything external. */
function resolve(file: string, specifier: string): string | undefined {
  const path = specifier.replace(/[?#].*$/, "");
  const rooted = path.startsWith("/");
  if (!rooted && !/^\.\.?(\/|$)/.test(path)) return undefined;
  const parts = rooted ? [] : file.split("/").slice(0, -1);
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "." && part !== "") parts.push(part);
  }
  return parts.join("/");
}

/** A path or file URL with forward slashes and without what differs between systems. */
function plain(path: string): string {
  const decoded = path.startsWith("file:")
    ? decodeURIComponent(path.replace(/^file:\/*(?=[A-Za-z]:|\/)/, ""))
    : path;
  const slashed = decoded.replaceAll("\\", "/").replace(/^\/\/\?\//, "");
  return slashed.replace(/^[A-Za-z]:/, (drive) => drive.toLowerCase());
}

/** A file's path below the root; one that is relative already stays. */
function relative(root: string, path: string): string {
  const base = plain(root).replace(/\/*$/, "/");
  const file = plain(path);
  return file.startsWith(base) ? file.slice(base.length) : file.replace(/^\.\//, "");
}

/** A specifier by absolute path or file URL as one rooted in the project; any other as it is. */
function inside(root: string, specifier: string): string {
  if (!/^(file:|\/)/.test(specifier)) return specifier;
  const path = relative(root, specifier);
  return /^([a-z]:)?\//.test(path) ? specifier : `/${path}`;
}

function literal(node: Deno.lint.Node): string | undefined {
  if (node.type === "TSLiteralType") return literal(node.literal);
  if (node.type === "Literal") return typeof node.value === "string" ? node.value : undefined;
  if (node.type !== "TemplateLiteral" || node.expressions.length > 0) return undefined;
  return node.quasis.map((quasi) => quasi.cooked).join("");
}

function propertyName(key: Deno.lint.Node, computed: boolean): string | undefined {
  return !computed && key.type === "Identifier" ? key.name : literal(key);
}

/** Whether an expression is the global `Deno`, also by way of `globalThis`. */
function isDeno(node: Deno.lint.Node): boolean {
  if (node.type === "Identifier") return node.name === "Deno";
  return node.type === "MemberExpression" && propertyName(node.property, node.computed) === "Deno" &&
    node.object.type === "Identifier" && node.object.name === "globalThis";
}
