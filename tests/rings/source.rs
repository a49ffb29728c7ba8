//! The module tree of the crate, read with a parser: what each module imports, declares and names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};

/// One module: a file, or a `mod` block in one.
pub(crate) struct Module {
    /// File it stands in, relative to the package.
    pub(crate) file: PathBuf,
    /// Child modules by name, as indices into [`Source::modules`].
    pub(crate) children: BTreeMap<String, usize>,
    pub(crate) parent: Option<usize>,
    /// Name of the top-level module it belongs to; `None` for the crate root.
    pub(crate) top: Option<String>,
    /// Names of items declared here (types, functions, macros).
    pub(crate) items: Vec<String>,
    /// `use a::b as c`, anywhere in the module, function bodies included: `c` stands for `a::b`.
    pub(crate) aliases: Vec<(String, Vec<String>)>,
    /// `use a::b::*`.
    pub(crate) globs: Vec<Vec<String>>,
    /// Every path of two or more segments, and every `use`.
    pub(crate) paths: Vec<Written>,
    /// `async`, `.await`, `include!` and the like, outside of test code.
    pub(crate) constructs: Vec<&'static str>,
}

/// A path as it stands in the source.
pub(crate) struct Written {
    pub(crate) segments: Vec<String>,
    /// Begins with `::`, so that the first segment is a crate.
    pub(crate) global: bool,
    /// Stands in code that only tests compile.
    pub(crate) test: bool,
    /// It is `use …::*`.
    pub(crate) glob: bool,
}

#[derive(Default)]
pub(crate) struct Source {
    pub(crate) modules: Vec<Module>,
    /// Files that were read.
    pub(crate) files: Vec<PathBuf>,
    /// What could not be followed.
    pub(crate) problems: Vec<String>,
}

impl Source {
    /// Reads the tree below the crate root `root` (`src/lib.rs`) with `read`, which answers `None` for "no such file".
    pub(crate) fn load(root: &Path, read: &dyn Fn(&Path) -> Option<String>) -> Self {
        let mut source = Self::default();
        source.file(root, None, None, None, false, read);
        source
    }

    fn file(
        &mut self,
        file: &Path,
        parent: Option<usize>,
        name: Option<&str>,
        top: Option<String>,
        test: bool,
        read: &dyn Fn(&Path) -> Option<String>,
    ) -> Option<usize> {
        let text = read(file)?;
        self.files.push(file.to_owned());
        let parsed = match syn::parse_file(&text) {
            Ok(parsed) => parsed,
            Err(e) => {
                self.problems.push(format!("{}: {e}", file.display()));
                return None;
            }
        };
        // Where the files of child modules lie: beside `lib.rs`, `main.rs` and `mod.rs`, else in a folder of its name.
        let stem = file.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        let dir = file.parent().unwrap_or_else(|| Path::new("")).to_owned();
        let dir = if name.is_none() || stem == "mod" { dir } else { dir.join(stem) };
        Some(self.module(file, &dir, parent, top, test, &parsed.attrs, &parsed.items, read))
    }

    #[allow(clippy::too_many_arguments)]
    fn module(
        &mut self,
        file: &Path,
        dir: &Path,
        parent: Option<usize>,
        top: Option<String>,
        test: bool,
        attrs: &[syn::Attribute],
        items: &[syn::Item],
        read: &dyn Fn(&Path) -> Option<String>,
    ) -> usize {
        let index = self.modules.len();
        self.modules.push(Module {
            file: file.to_owned(),
            children: BTreeMap::new(),
            parent,
            top: top.clone(),
            items: Vec::new(),
            aliases: Vec::new(),
            globs: Vec::new(),
            paths: Vec::new(),
            constructs: Vec::new(),
        });
        let mut walk = Walk { test: test || attrs.iter().any(is_cfg_test), out: Found::default() };
        attrs.iter().for_each(|a| walk.visit_attribute(a));
        items.iter().for_each(|i| walk.visit_item(i));
        let test = walk.test;
        let found = walk.out;
        self.problems.extend(found.problems.iter().map(|p| format!("{}: {p}", file.display())));
        for child in found.modules {
            let name = child.ident.to_string();
            let test = test || child.attrs.iter().any(is_cfg_test);
            let top = top.clone().or_else(|| Some(name.clone()));
            if child.attrs.iter().any(|a| a.path().is_ident("path")) {
                self.problems.push(format!("{}: #[path] on mod {name} is not followed", file.display()));
                continue;
            }
            let at = match &child.content {
                Some((_, items)) => Some(self.module(
                    file,
                    &dir.join(&name),
                    Some(index),
                    top,
                    test,
                    &child.attrs,
                    items,
                    read,
                )),
                None => {
                    let flat = dir.join(format!("{name}.rs"));
                    let nested = dir.join(&name).join("mod.rs");
                    self.file(&flat, Some(index), Some(&name), top.clone(), test, read)
                        .or_else(|| self.file(&nested, Some(index), Some(&name), top, test, read))
                }
            };
            match at {
                Some(at) => {
                    self.modules[index].children.insert(name, at);
                }
                None => self.problems.push(format!("{}: mod {name} was not found", file.display())),
            }
        }
        let module = &mut self.modules[index];
        module.items = found.items;
        module.aliases = found.aliases;
        module.globs = found.globs;
        module.paths = found.paths;
        module.constructs = found.constructs;
        index
    }
}

/// `#[cfg(test)]` or `#[cfg(all(test, …))]`. Anything else may be compiled without tests.
fn is_cfg_test(attr: &syn::Attribute) -> bool {
    let only_test = |meta: &syn::Meta| match meta {
        syn::Meta::Path(p) => p.is_ident("test"),
        syn::Meta::List(l) if l.path.is_ident("all") => l
            .parse_args_with(Punctuated::<syn::Meta, syn::Token![,]>::parse_terminated)
            .is_ok_and(|inner| inner.iter().any(|m| m.path().is_ident("test"))),
        _ => false,
    };
    attr.path().is_ident("cfg") && attr.parse_args::<syn::Meta>().is_ok_and(|m| only_test(&m))
}

#[derive(Default)]
struct Found {
    modules: Vec<syn::ItemMod>,
    items: Vec<String>,
    aliases: Vec<(String, Vec<String>)>,
    globs: Vec<Vec<String>>,
    paths: Vec<Written>,
    constructs: Vec<&'static str>,
    problems: Vec<String>,
}

struct Walk {
    test: bool,
    out: Found,
}

impl Walk {
    fn path(&mut self, segments: Vec<String>, global: bool, glob: bool) {
        self.out.paths.push(Written { segments, global, test: self.test, glob });
    }

    fn construct(&mut self, what: &'static str) {
        if !self.test {
            self.out.constructs.push(what);
        }
    }

    fn use_tree(&mut self, tree: &syn::UseTree, prefix: &[String], global: bool) {
        let mut here = prefix.to_vec();
        match tree {
            syn::UseTree::Path(p) => {
                here.push(p.ident.to_string());
                self.use_tree(&p.tree, &here, global);
            }
            syn::UseTree::Group(g) => g.items.iter().for_each(|t| self.use_tree(t, prefix, global)),
            syn::UseTree::Glob(_) => {
                self.out.globs.push(here.clone());
                self.path(here, global, true);
            }
            syn::UseTree::Name(n) => self.imported(here, &n.ident, &n.ident, global),
            syn::UseTree::Rename(r) => self.imported(here, &r.ident, &r.rename, global),
        }
    }

    fn imported(&mut self, mut path: Vec<String>, name: &syn::Ident, alias: &syn::Ident, global: bool) {
        if name != "self" || path.is_empty() {
            path.push(name.to_string());
        }
        let alias =
            if alias == "self" { path.last().cloned().unwrap_or_default() } else { alias.to_string() };
        let mut target = path.clone();
        if global {
            target.insert(0, "::".to_owned());
        }
        self.out.aliases.push((alias, target));
        self.path(path, global, false);
    }

    /// Macro arguments and attribute arguments are tokens, not syntax: everything of the form `a::b` in them is a path.
    fn tokens(&mut self, cursor: syn::buffer::Cursor<'_>) {
        let mut at = cursor;
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        let mut global = false;
        loop {
            if let Some((ident, next)) = at.ident() {
                if colons == 2 || path.is_empty() {
                    if path.is_empty() {
                        global = colons == 2;
                    }
                } else {
                    self.flush(&mut path, global);
                    global = false;
                }
                if ident == "async" {
                    self.construct("async in a macro");
                } else if ident == "await" {
                    self.construct(".await in a macro");
                }
                path.push(ident.to_string());
                colons = 0;
                at = next;
            } else if let Some((punct, next)) = at.punct() {
                if punct.as_char() == ':' {
                    colons += 1;
                } else {
                    self.flush(&mut path, global);
                    colons = 0;
                }
                at = next;
            } else if let Some((inside, _, _, next)) = at.any_group() {
                // `use a::{b, c}` inside a macro: each element is a path below `a`.
                if colons == 2 && !path.is_empty() {
                    let mut inner = Self { test: self.test, out: Found::default() };
                    inner.singles(inside, &path);
                    self.out.paths.extend(inner.out.paths);
                }
                self.flush(&mut path, global);
                colons = 0;
                self.tokens(inside);
                at = next;
            } else if let Some((_, next)) = at.token_tree() {
                self.flush(&mut path, global);
                colons = 0;
                at = next;
            } else {
                break;
            }
        }
        self.flush(&mut path, global);
    }

    fn singles(&mut self, cursor: syn::buffer::Cursor<'_>, prefix: &[String]) {
        let mut at = cursor;
        while let Some((_, next)) = at.token_tree() {
            if let Some((ident, _)) = at.ident() {
                let mut path = prefix.to_vec();
                path.push(ident.to_string());
                self.path(path, false, false);
            }
            at = next;
        }
    }

    fn flush(&mut self, path: &mut Vec<String>, global: bool) {
        let path = std::mem::take(path);
        if path.len() > 1 || (global && !path.is_empty()) {
            self.path(path, global, false);
        }
    }

    fn within_test(&mut self, attrs: &[syn::Attribute], f: impl FnOnce(&mut Self)) {
        let before = self.test;
        self.test |= attrs.iter().any(|a| is_cfg_test(a) || a.path().is_ident("test"));
        f(self);
        self.test = before;
    }
}

fn item_attrs(item: &syn::Item) -> &[syn::Attribute] {
    use syn::Item::*;
    match item {
        Const(i) => &i.attrs,
        Enum(i) => &i.attrs,
        ExternCrate(i) => &i.attrs,
        Fn(i) => &i.attrs,
        Impl(i) => &i.attrs,
        Macro(i) => &i.attrs,
        Mod(i) => &i.attrs,
        Static(i) => &i.attrs,
        Struct(i) => &i.attrs,
        Trait(i) => &i.attrs,
        TraitAlias(i) => &i.attrs,
        Type(i) => &i.attrs,
        Union(i) => &i.attrs,
        Use(i) => &i.attrs,
        _ => &[],
    }
}

impl<'ast> Visit<'ast> for Walk {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        use syn::Item::*;
        match item {
            Const(i) => self.out.items.push(i.ident.to_string()),
            Enum(i) => self.out.items.push(i.ident.to_string()),
            Fn(i) => self.out.items.push(i.sig.ident.to_string()),
            Static(i) => self.out.items.push(i.ident.to_string()),
            Struct(i) => self.out.items.push(i.ident.to_string()),
            Trait(i) => self.out.items.push(i.ident.to_string()),
            Type(i) => self.out.items.push(i.ident.to_string()),
            Union(i) => self.out.items.push(i.ident.to_string()),
            _ => {}
        }
        self.within_test(item_attrs(item), |w| visit::visit_item(w, item));
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        // A module of its own: walked by `Source::module`.
        let mut child = item.clone();
        if self.test && !child.attrs.iter().any(is_cfg_test) {
            child.attrs.push(syn::parse_quote!(#[cfg(test)]));
        }
        self.out.modules.push(child);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.use_tree(&item.tree, &[], item.leading_colon.is_some());
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        let alias = item.rename.as_ref().map_or(&item.ident, |(_, alias)| alias);
        self.imported(Vec::new(), &item.ident, alias, item.ident != "self");
    }

    fn visit_item_foreign_mod(&mut self, _: &'ast syn::ItemForeignMod) {
        self.construct("extern block");
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.within_test(&item.attrs, |w| visit::visit_impl_item_fn(w, item));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|s| s.ident.to_string()).collect();
        if segments.len() > 1 || path.leading_colon.is_some() {
            self.path(segments, path.leading_colon.is_some(), false);
        }
        visit::visit_path(self, path);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if signature.asyncness.is_some() {
            self.construct("async fn");
        }
        visit::visit_signature(self, signature);
    }

    fn visit_expr_async(&mut self, expr: &'ast syn::ExprAsync) {
        self.construct("async block");
        visit::visit_expr_async(self, expr);
    }

    fn visit_expr_await(&mut self, expr: &'ast syn::ExprAwait) {
        self.construct(".await");
        visit::visit_expr_await(self, expr);
    }

    fn visit_expr_closure(&mut self, expr: &'ast syn::ExprClosure) {
        if expr.asyncness.is_some() {
            self.construct("async closure");
        }
        visit::visit_expr_closure(self, expr);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        // `Path` reaches the file system without a path that says so.
        let file_access = [
            "canonicalize",
            "exists",
            "is_dir",
            "is_file",
            "read_dir",
            "read_link",
            "symlink_metadata",
            "try_exists",
        ];
        if let Some(name) = file_access.iter().find(|n| call.method == **n) {
            self.construct(name);
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_macro(&mut self, mac: &'ast syn::Macro) {
        if mac.path.is_ident("include") {
            self.out.problems.push("include! is not followed".to_owned());
        }
        self.visit_path(&mac.path);
        let buffer = syn::buffer::TokenBuffer::new2(mac.tokens.clone());
        self.tokens(buffer.begin());
    }

    fn visit_attribute(&mut self, attr: &'ast syn::Attribute) {
        self.visit_path(attr.path());
        if let syn::Meta::List(list) = &attr.meta {
            let buffer = syn::buffer::TokenBuffer::new2(list.tokens.clone());
            self.tokens(buffer.begin());
        }
    }
}
