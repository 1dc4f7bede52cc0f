//! A compiled script.

use jaq_core::load::{self, lex, Arena, File, Loader};
use jaq_core::native::{self, bome, run, v, Fun};
use jaq_core::{compile, data::JustLut, unwrap_valr, Compiler, Ctx, Error, Filter, RunPtr, ValXs, Vars};
use jaq_json::Val;

use crate::writing;

type Data = JustLut<Val>;

/// A filter in jq's language, with the values of its variables.
pub struct Script {
    filter: Filter<Data>,
    variables: Vec<Val>,
}

impl Script {
    /// Compile a script. Errors begin with `script:LINE:COLUMN`.
    pub fn compile(source: &str, variables: Vec<(String, Val)>) -> Result<Self, String> {
        let (names, values): (Vec<String>, Vec<Val>) = variables.into_iter().map(|(name, value)| (format!("${name}"), value)).unzip();
        let arena = Arena::default();
        let modules = Loader::new(jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs()))
            .load(&arena, File { code: source, path: () })
            .map_err(|errors| errors.iter().map(|(file, error)| load_error(file.code, error)).collect::<Vec<_>>().join("; "))?;
        let filter =
            Compiler::default().with_funs(functions()).with_global_vars(names.iter().map(String::as_str)).compile(modules).map_err(
                |errors| {
                    let texts = errors.iter().flat_map(|(file, errors)| errors.iter().map(|error| compile_error(file.code, error)));
                    texts.collect::<Vec<_>>().join("; ")
                },
            )?;
        Ok(Self { filter, variables: values })
    }

    /// What the script makes of a record; `None` where it gives nothing.
    pub fn run(&self, record: Val) -> Result<Option<Val>, String> {
        let context = Ctx::<Data>::new(&self.filter.lut, Vars::new(self.variables.iter().cloned()));
        let mut results = self.filter.id.run((context, record)).map(unwrap_valr);
        let Some(first) = results.next() else { return Ok(None) };
        let made = first.map_err(|error| told(error))?;
        match results.next() {
            None => Ok(Some(made)),
            Some(Err(error)) => Err(told(error)),
            Some(Ok(_)) => Err("the script gives more than one value for a record: collect them in an array of the record".into()),
        }
    }
}

/// The functions of jq, without those that depend on something else than the record: the same record gives the same result.
fn functions() -> impl Iterator<Item = Fun<Data>> {
    let absent: Vec<native::Filter<RunPtr<Data>>> = vec![
        ("now", v(0), |_| absent("there is no clock")),
        ("env", v(0), |_| absent("there is no environment: use variables")),
        ("halt", v(1), |_| absent("a script does not end the run: error(\"...\") refuses a record, empty drops it")),
        ("localtime", v(0), |_| absent("there is no local time zone: use gmtime")),
        ("strflocaltime", v(1), |_| absent("there is no local time zone: use strftime")),
    ];
    let names: Vec<&'static str> = absent.iter().map(|each| each.0).collect();
    let given = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
    given.filter(move |each: &Fun<Data>| !names.contains(&each.0)).chain(absent.into_iter().map(run::<Data>))
}

fn absent<'a>(why: &str) -> ValXs<'a, Val> {
    bome(Err(Error::str(why)))
}

/// An error at a record in words; what a script gives to `error` as it is, where it is a text.
fn told(error: Error<Val>) -> String {
    let value = error.into_val();
    writing::text(&value).map_or_else(|_| value.to_string(), String::from)
}

fn load_error(code: &str, error: &load::Error<&str>) -> String {
    match error {
        load::Error::Io(errors) => told_all(errors, |(path, _)| format!("{}: a script has no other files: {path}", place(code, path))),
        load::Error::Lex(errors) => told_all(errors, |(expected, found)| match expected {
            lex::Expect::Delim(open) => format!("{}: {open:?} is not closed", place(code, open)),
            _ => format!("{}: expected {}, found {}", place(code, found), expected.as_str(), character(found)),
        }),
        load::Error::Parse(errors) => told_all(errors, |(expected, found)| {
            let found_text = if found.is_empty() { "the end".into() } else { format!("{found:?}") };
            format!("{}: expected {}, found {found_text}", place(code, found), expected.as_str())
        }),
    }
}

fn compile_error(code: &str, (found, undefined): &compile::Error<&str>) -> String {
    let what = match undefined {
        compile::Undefined::Filter(arity) => format!("there is no function {found}/{arity}"),
        other => format!("there is no {} {found}", other.as_str()),
    };
    format!("{}: {what}", place(code, found))
}

fn told_all<T>(errors: &[T], tell: impl Fn(&T) -> String) -> String {
    errors.iter().map(tell).collect::<Vec<_>>().join("; ")
}

fn character(text: &str) -> String {
    text.chars().next().map_or("the end".into(), |first| format!("{first:?}"))
}

/// Where a part of the script begins, counted in characters.
fn place(code: &str, part: &str) -> String {
    let before = &code[..load::span(code, part).start];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    let (line, column) = (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1);
    format!("script:{line}:{column}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use jaq_json::read;

    fn value(text: &str) -> Val {
        read::parse_single(text.as_bytes()).unwrap()
    }

    fn run_on(script: &str, record: &str) -> Result<Option<String>, String> {
        let made = Script::compile(script, Vec::new())?.run(value(record))?;
        Ok(made.map(|value| value.to_string()))
    }

    fn refused(script: &str) -> String {
        Script::compile(script, Vec::new()).err().unwrap()
    }

    #[test]
    fn records_are_changed_and_dropped() {
        let script = "select(.amount <= 100) | .name |= ascii_upcase";
        assert_eq!(run_on(script, r#"{"name":"ada","amount":12}"#), Ok(Some(r#"{"name":"ADA","amount":12}"#.into())));
        assert_eq!(run_on(script, r#"{"name":"ada","amount":120}"#), Ok(None));
    }

    #[test]
    fn variables_have_their_values() {
        let script = Script::compile(".a = $most + 1", vec![("most".into(), value("41"))]).unwrap();
        assert_eq!(script.run(value("{}")).unwrap().unwrap().to_string(), r#"{"a":42}"#);
    }

    #[test]
    fn errors_of_a_script_name_their_place() {
        for (script, said) in [
            (".a | (.b", "script:1:6: \"(\" is not closed"),
            (".a |\n  nope(1)", "script:2:3: there is no function nope/1"),
            (".a | $x", "script:1:6: there is no variable $x"),
            (".a |", "script:1:5: expected term, found the end"),
        ] {
            assert_eq!(refused(script), said);
        }
        assert!(refused(".a = ]").starts_with("script:1:6: expected "), "{}", refused(".a = ]"));
        assert!(refused("include \"a\"; .").contains("a script has no other files"));
    }

    #[test]
    fn errors_at_a_record_say_what_is_wrong() {
        assert_eq!(run_on(".name + 1", r#"{"name":"ada"}"#), Err(r#"cannot calculate "ada" + 1"#.into()));
        assert_eq!(run_on("error(\"no amount\")", "{}"), Err("no amount".into()));
        assert!(run_on(".a, .b", "{}").unwrap_err().contains("more than one value"));
    }

    #[test]
    fn what_a_record_does_not_decide_is_not_there() {
        for script in ["now", "env", "halt(0)", "localtime", "strflocaltime(\"%Y\")", "halt_error", "$ENV"] {
            let found = Script::compile(script, Vec::new()).and_then(|script| script.run(value("{}")).map(|_| ()));
            assert!(found.is_err(), "{script}");
        }
    }
}
