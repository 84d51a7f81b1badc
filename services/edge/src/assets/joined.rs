//! Modules that are needed together, as one file.
//!
//! To a browser each module is a request and some tasks of its own, and on a slow processor twenty of them took longer
//! than all that they do. So what belongs together ([`GROUPS`]) comes as one file: each module as it is, in a function of
//! its own that gives what it exports, one after the other as they would have run. Whoever imports one of them gets it
//! from there, so that each is there once, whoever came first. The module that a file is named after is what the file is
//! for: it comes last, and runs where a page names the file.
//!
//! Nothing here knows the language. The widget's modules import and export in one form each, as a line that begins with
//! it: `import { a, b as c } from './d.js';` (or `'../vendor/d.js'`), and `export` before one `const`, `class` or
//! function of any kind; and, anywhere in a line, `import('./d.js')` for later. Another form in a module that is joined,
//! or of an import from one, stops the start.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

/// What the chat begins with.
pub(super) const ENTRY: &str = "js/main.js";
/// What comes as one, by the modules that need the others of it. What is in a group before is not in it again.
const GROUPS: [(&str, &[&str]); 5] = [
    (ENTRY, &[ENTRY]),
    ("js/talking.js", &["js/talk.js"]),
    ("js/reading.js", &["js/markdown.js", "js/prose.js", "js/grow.js"]),
    ("js/keeping.js", &["js/shelf.js"]),
    ("js/sending.js", &["js/engine.js"]),
];
/// Asks a browser that knows it to compile all of a file where it loads it, beside the page, instead of each function
/// when it is first called, where the visitor waits for it. It counts only before all code.
/// <https://github.com/WICG/explicit-javascript-compile-hints-file-based>
const COMPILE: &str = "//# allFunctionsCalledOnLoad\n";
/// Runs what follows where a page names this file.
const NAMED: &str = "if ([...document.scripts].some(({ src }) => src === import.meta.url)) {";
const FOLDER: &str = "js/";
const VENDORED: &str = "../vendor/";

/// The file that a module is a part of, by the module's name.
type Homes = BTreeMap<String, &'static str>;

/// All files of the widget by their names, with what belongs together in one.
pub(super) fn join(files: BTreeMap<String, Bytes>) -> BTreeMap<String, Bytes> {
    join_groups(files, &GROUPS)
}

fn join_groups(mut files: BTreeMap<String, Bytes>, groups: &[(&'static str, &[&str])]) -> BTreeMap<String, Bytes> {
    let mut homes = Homes::new();
    let mut orders = Vec::new();
    for (file, roots) in groups {
        let mut order = Vec::new();
        for root in *roots {
            visit(&files, root, &homes, &mut order, &mut Vec::new());
        }
        homes.extend(order.iter().map(|name| (name.clone(), *file)));
        orders.push((*file, order));
    }
    let made: Vec<_> = orders.iter().map(|(file, order)| (*file, group(&files, file, order, &homes))).collect();
    files.retain(|name, _| !homes.contains_key(name));
    for (name, content) in &mut files {
        if name.starts_with(FOLDER) {
            *content = from_there(&text(name, content), &homes).into();
        }
    }
    files.extend(made.into_iter().map(|(file, text)| (file.to_owned(), text.into())));
    for name in files.keys().filter(|name| name.starts_with(FOLDER)) {
        let text = text(name, &files[name]);
        let names =
            |module: &&String| ['\'', '"'].iter().any(|q| text.contains(&format!("{q}{}{q}", neighbour(module))));
        let left = homes.keys().filter(|module| !files.contains_key(*module)).find(names);
        assert!(left.is_none(), "{name} imports {left:?} in a form that can't lead to what is joined");
    }
    files
}

/// Puts a module behind all that it needs and no group before has.
fn visit(files: &BTreeMap<String, Bytes>, name: &str, homes: &Homes, order: &mut Vec<String>, above: &mut Vec<String>) {
    if homes.contains_key(name) || order.iter().any(|known| known == name) {
        return;
    }
    assert!(!above.iter().any(|other| other == name), "{name} needs itself, by way of {above:?}");
    above.push(name.to_owned());
    for import in source(files, name).lines().filter_map(import) {
        if let Some(module) = import.module() {
            visit(files, &module, homes, order, above);
        }
    }
    above.pop();
    order.push(name.to_owned());
}

fn source(files: &BTreeMap<String, Bytes>, name: &str) -> String {
    let content = files.get(name).unwrap_or_else(|| panic!("there is no {name}, which a module imports"));
    text(name, content)
}

fn text(name: &str, content: &Bytes) -> String {
    String::from_utf8(content.to_vec()).unwrap_or_else(|_| panic!("{name} is no text"))
}

/// A line that imports.
struct Import<'a> {
    /// As between braces.
    names: &'a str,
    /// As it is written.
    from: &'a str,
}

impl Import<'_> {
    /// The name of a module of ours.
    fn module(&self) -> Option<String> {
        Some(format!("{FOLDER}{}", self.from.strip_prefix("./")?))
    }

    /// What it is called where it is a part: `$talk_icons` for `./talk-icons.js`.
    fn constant(&self) -> String {
        constant(self.from)
    }

    /// The names, taken out of what the module gives.
    fn taken(&self) -> String {
        format!("const {{ {} }} = {};", self.names.replace(" as ", ": "), self.constant())
    }
}

fn import(line: &str) -> Option<Import<'_>> {
    let (names, rest) = line.strip_prefix("import { ")?.split_once(" } from '")?;
    let from = rest.strip_suffix("';")?;
    (from.starts_with("./") || from.starts_with(VENDORED)).then_some(Import { names, from })
}

/// What a line exports, and the line without saying so.
fn export(line: &str) -> Option<(&str, &str)> {
    let rest = line.strip_prefix("export ")?;
    let starts = ["const ", "class ", "function ", "async function ", "function* ", "async function* "];
    let (start, name) = starts.iter().find_map(|start| Some((*start, rest.strip_prefix(start)?)))?;
    let end = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '$'))?;
    // Of several in a line the others would be lost.
    let one = start != "const " || name.split_once(" = ").is_some_and(|(_, value)| !lists(value));
    (end > 0 && one).then_some((&name[..end], rest))
}

/// Whether a line begins to import or export. `import(` does it later.
fn is_statement(line: &str) -> bool {
    let rest = line.strip_prefix("import").or_else(|| line.strip_prefix("export"));
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c == '(' || c == '.' || c == '_' || c.is_ascii_alphanumeric()))
}

/// Whether `a, b = c` may follow a `const`.
fn lists(value: &str) -> bool {
    let mut depth = 0;
    value.trim_end().trim_end_matches(';').chars().any(|c| {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
}

/// What a module is called in the file that holds it, by its name or its path from there.
fn constant(name: &str) -> String {
    let stem = name.rsplit('/').next().unwrap_or(name).trim_end_matches(".js");
    format!("${}", stem.replace(['-', '.'], "_"))
}

/// What `js/a.js` is called from its neighbours: `./a.js`.
fn neighbour(name: &str) -> String {
    name.replacen(FOLDER, "./", 1)
}

/// A file of modules: what it needs of others, the modules, and all of them for whoever needs them.
fn group(files: &BTreeMap<String, Bytes>, file: &str, order: &[String], homes: &Homes) -> String {
    let mut others: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut modules = String::new();
    for name in order {
        let (source, constant) = (source(files, name), constant(name));
        let (code, exports) = parts(name, &source, file, homes, &mut others);
        modules.push_str(&if name == file {
            assert!(exports.is_empty(), "{name} is for nobody else, and exports {exports:?}");
            // Another page may need what is in this file, and not what it is for. Nor does the same page a second time, if
            // it has got the file by an address that somebody has changed on the way.
            format!("// {name}\n{NAMED}\n{code}}}\n")
        } else {
            format!("// {name}\nconst {constant} = (() => {{\n{code}return {{ {} }};\n}})();\n", exports.join(", "))
        });
    }
    let mut text = String::new();
    for (from, constants) in others {
        let constants: Vec<_> = constants.into_iter().collect();
        if from.starts_with(VENDORED) {
            text.push_str(&format!("import * as {} from '{from}';\n", constants.join("")));
        } else {
            text.push_str(&format!("import {{ {} }} from '{from}';\n", constants.join(", ")));
        }
    }
    let constants: Vec<String> = order.iter().filter(|name| *name != file).map(|name| constant(name)).collect();
    format!("{COMPILE}{text}{modules}export {{ {} }};\n", constants.join(", "))
}

/// The code of one of them, and what it exports. `others`: what is needed from outside of the file, by where it is.
fn parts<'a>(
    name: &str,
    source: &'a str,
    file: &str,
    homes: &Homes,
    others: &mut BTreeMap<String, BTreeSet<String>>,
) -> (String, Vec<&'a str>) {
    let mut exports = Vec::new();
    let mut text = String::new();
    for line in source.lines() {
        if let Some(import) = import(line) {
            let home = import.module().map(|module| homes[&module]);
            if home != Some(file) {
                let from = home.map_or(import.from.to_owned(), neighbour);
                others.entry(from).or_default().insert(import.constant());
            }
            text.push_str(&import.taken());
        } else if let Some((export, line)) = export(line) {
            exports.push(export);
            text.push_str(&later(line, homes));
        } else {
            assert!(!is_statement(line), "{name} has a form of `import` or `export` that can't be joined: {line}");
            text.push_str(&later(line, homes));
        }
        text.push('\n');
    }
    (text, exports)
}

/// A script that is not joined, with all that is from there. Its lines stay where they are.
fn from_there(source: &str, homes: &Homes) -> String {
    let mut text = String::with_capacity(source.len());
    for line in source.split_inclusive('\n') {
        let import = import(line.trim_end_matches(['\r', '\n']));
        let home = import.as_ref().and_then(|import| homes.get(&import.module()?));
        if let (Some(import), Some(home)) = (&import, home) {
            let constant = import.constant();
            let statement = format!("import {{ {constant} }} from '{}'; {}\n", neighbour(home), import.taken());
            text.push_str(&statement);
        } else {
            text.push_str(&later(line, homes));
        }
    }
    text
}

/// A line, with what it imports later from where that is.
fn later(line: &str, homes: &Homes) -> String {
    const LATER: &str = "import('";
    let mut parts = line.split(LATER);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let named = part.split_once("')").and_then(|(from, rest)| {
            let module = format!("{FOLDER}{}", from.strip_prefix("./")?);
            Some((homes.get(&module)?, constant(&module), rest))
        });
        text.push_str(LATER);
        match named {
            Some((home, constant, rest)) => {
                text.push_str(&format!("{}').then((it) => it.{constant}){rest}", neighbour(home)));
            }
            None => text.push_str(part),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(of: &[(&str, &str)]) -> BTreeMap<String, Bytes> {
        of.iter().map(|(name, text)| ((*name).to_owned(), Bytes::copy_from_slice(text.as_bytes()))).collect()
    }

    fn joined(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        const GROUPS: [(&str, &[&str]); 2] = [(ENTRY, &[ENTRY]), ("js/two.js", &["js/x.js", "js/y.js"])];
        let mut all = files(&[("js/x.js", ""), ("js/y.js", "")]);
        all.extend(files(of));
        join_groups(all, &GROUPS).into_iter().map(|(name, content)| (name.clone(), text(&name, &content))).collect()
    }

    #[test]
    fn what_the_entry_needs_becomes_one_file_in_its_order() {
        let files = joined(&[
            ("js/main.js", "import { a, z as y } from './a.js';\na(y);\n"),
            ("js/a.js", "import { b } from './b-c.js';\nexport const a = b;\nexport async function z() {}\n"),
            ("js/b-c.js", "export function b() {\n  return import('./later.js');\n}\nexport class C {}\n"),
            (
                "js/later.js",
                "import { b } from './b-c.js';\nimport { d } from './d.js';\nimport e from '../vendor/e.js';\n",
            ),
            ("js/d.js", "export const d = 1;\n"),
            ("js/windows.js", "import { a } from './a.js';\r\na;\r\n"),
            ("page.html", "import { b } from './b-c.js';\n"),
        ]);
        let main = "//# allFunctionsCalledOnLoad\n\
                       // js/b-c.js\nconst $b_c = (() => {\nfunction b() {\n  return import('./later.js');\n}\nclass C {}\n\
                       return { b, C };\n})();\n// js/a.js\nconst $a = (() => {\nconst { b } = $b_c;\nconst a = b;\n\
                       async function z() {}\nreturn { a, z };\n})();\n// js/main.js\n\
                       if ([...document.scripts].some(({ src }) => src === import.meta.url)) {\n\
                       const { a, z: y } = $a;\na(y);\n}\nexport { $b_c, $a };\n";
        assert_eq!(files["js/main.js"], main);
        let later = "import { $b_c } from './main.js'; const { b } = $b_c;\nimport { d } from './d.js';\n\
                     import e from '../vendor/e.js';\n";
        assert_eq!(files["js/later.js"], later);
        assert!(files["js/windows.js"].starts_with("import { $a } from './main.js'; const { a } = $a;"));
        assert_eq!(files["page.html"], "import { b } from './b-c.js';\n");
        let names: Vec<&str> = files.keys().map(String::as_str).collect();
        let expected = ["js/d.js", "js/later.js", "js/main.js", "js/two.js", "js/windows.js", "page.html"];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_group_needs_those_before_and_is_imported_later() {
        let files = joined(&[
            ("js/main.js", "import { a } from './a.js';\nimport('./x.js').then(({ x }) => x(a));\n"),
            (
                "js/a.js",
                "export const a = () => Promise.all([import('./x.js'), import('./z.js'), import('./q.js')]);\n",
            ),
            ("js/x.js", "import { a } from './a.js';\nimport { y } from './y.js';\nexport const x = a(y);\n"),
            ("js/y.js", "import { b as c } from '../vendor/b-1/b.c.js';\nexport const y = c;\n"),
            ("js/z.js", "import { y } from './y.js';\n"),
        ]);
        let two = "//# allFunctionsCalledOnLoad\n\
                   import * as $b_c from '../vendor/b-1/b.c.js';\nimport { $a } from './main.js';\n// js/y.js\n\
                   const $y = (() => {\nconst { b: c } = $b_c;\nconst y = c;\nreturn { y };\n})();\n// js/x.js\n\
                   const $x = (() => {\nconst { a } = $a;\nconst { y } = $y;\nconst x = a(y);\nreturn { x };\n})();\n\
                   export { $y, $x };\n";
        assert_eq!(files["js/two.js"], two);
        assert!(
            files["js/main.js"]
                .contains("Promise.all([import('./two.js').then((it) => it.$x), import('./z.js'), import('./q.js')]);")
        );
        assert!(files["js/main.js"].contains("\nimport('./two.js').then((it) => it.$x).then(({ x }) => x(a));\n}\n"));
        assert_eq!(files["js/z.js"], "import { $y } from './two.js'; const { y } = $y;\n");
    }

    #[test]
    fn what_can_not_be_joined_is_not_served() {
        let refused = |of: &[(&str, &str)]| {
            let main = ("js/main.js", "import { a } from './a.js';\n");
            let of: Vec<_> = std::iter::once(main).chain(of.iter().copied()).collect();
            assert!(std::panic::catch_unwind(|| joined(&of)).is_err(), "{of:?}");
        };
        refused(&[]);
        refused(&[("js/main.js", "export const a = 1;\n")]);
        refused(&[("js/a.js", "export default 1;\n")]);
        refused(&[("js/a.js", "export let a = 1;\n")]);
        refused(&[("js/a.js", "export { b as a };\n")]);
        refused(&[("js/a.js", "export const { a } = b;\n")]);
        refused(&[("js/a.js", "export const a = 1, b = 2;\n")]);
        refused(&[("js/a.js", "export const a = f(1, 2), b = 2;\n")]);
        refused(&[("js/a.js", "export{ a };\n")]);
        refused(&[("js/a.js", "export* from './b.js';\n"), ("js/b.js", "")]);
        refused(&[("js/a.js", "import\"./b.js\";\n"), ("js/b.js", "")]);
        let fine = ("js/a.js", "export const a = f(1, 2);\nexports(1);\nimport('./b.js');\n");
        refused(&[fine, ("js/b.js", "import * as x from './a.js';\n")]);
        refused(&[fine, ("js/b.js", "import {\n  a,\n} from './a.js';\n")]);
        refused(&[fine, ("js/b.js", "export { a } from './a.js';\n")]);
        refused(&[fine, ("js/b.js", "import { a } from \"./a.js\";\n")]);
        refused(&[("js/a.js", "import * as b from './b.js';\n"), ("js/b.js", "")]);
        refused(&[("js/a.js", "import {\n  b,\n} from './b.js';\n"), ("js/b.js", "")]);
        refused(&[("js/a.js", "import b from '../vendor/b.js';\n")]);
        refused(&[("js/a.js", "import { b } from './b.js';\n"), ("js/b.js", "import { a } from './a.js';\n")]);
    }
}
