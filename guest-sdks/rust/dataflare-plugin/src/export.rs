//! The exports of a component, made from a plugin's type.

/// Who a plugin is; the macros that export plugins implement it.
#[doc(hidden)]
pub trait Named {
    const NAME: &'static str;
    const VERSION: &'static str;
    const DESCRIPTION: &'static str;
}

/// What the traits of all kinds have in common.
macro_rules! common {
    () => {
        /// The configuration: [`crate::NoConfig`] for a plugin without one.
        type Config: $crate::Config;

        /// Make the plugin. Check what the types of the configuration cannot say, and answer [`crate::Error::InvalidConfig`].
        fn new(config: Self::Config) -> $crate::Result<Self>;

        /// Prepare for work: open files, connect. Called once, after the configuration.
        fn initialize(&mut self) -> $crate::Result<()> {
            Ok(())
        }

        /// Release everything. Called once, at the end.
        fn shutdown(&mut self) -> $crate::Result<()> {
            Ok(())
        }

        /// What is wrong, for the operator; empty if nothing is.
        fn health(&mut self) -> String {
            String::new()
        }
    };
}
pub(crate) use common;

/// Send the message, the file and the line of a panic to `log` before the plugin aborts.
///
/// WebAssembly without unwinding turns a panic into a bare trap: without this, nobody learns what went wrong. The macros
/// that export plugins do it.
pub fn report_panics(log: fn(&str)) {
    std::panic::set_hook(Box::new(move |info| log(&info.to_string())));
}

/// What each of the macros below does for its kind.
#[doc(hidden)]
#[macro_export]
macro_rules! __export {
    ($kind:ident, $interface:ident, $plugin:ty) => {
        impl $crate::Named for $plugin {
            // What `plugin.yaml` says, where `dataflare` builds.
            const NAME: &'static str = match option_env!("DATAFLARE_PLUGIN_NAME") {
                Some(name) => name,
                None => env!("CARGO_PKG_NAME"),
            };
            const VERSION: &'static str = match option_env!("DATAFLARE_PLUGIN_VERSION") {
                Some(version) => version,
                None => env!("CARGO_PKG_VERSION"),
            };
            const DESCRIPTION: &'static str = match option_env!("DATAFLARE_PLUGIN_DESCRIPTION") {
                Some(description) => description,
                None => env!("CARGO_PKG_DESCRIPTION"),
            };
        }

        // The digest of the plugin's sources: cargo, which goes by times, builds anew when it changes.
        const _: Option<&str> = option_env!("DATAFLARE_PLUGIN_DIGEST");

        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exported = $crate::exports::$kind::Exports<$plugin>;
    $crate::bindings::lifecycle::export_lifecycle_interface!(Exported with_types_in $crate::bindings::lifecycle);
    $crate::bindings::$kind::$interface!(Exported with_types_in $crate::bindings::$kind);
        };
    };
}

/// Export a source: once in a plugin's crate.
#[macro_export]
macro_rules! export_source {
    ($plugin:ty) => {
        $crate::__export!(source, export_source_interface, $plugin);
    };
}

/// Export a destination: once in a plugin's crate.
#[macro_export]
macro_rules! export_destination {
    ($plugin:ty) => {
        $crate::__export!(destination, export_destination_interface, $plugin);
    };
}

/// Export a processor: once in a plugin's crate.
#[macro_export]
macro_rules! export_processor {
    ($plugin:ty) => {
        $crate::__export!(processor, export_processor_interface, $plugin);
    };
}

/// Export a transformer: once in a plugin's crate.
#[macro_export]
macro_rules! export_transformer {
    ($plugin:ty) => {
        $crate::__export!(transformer, export_transformer_interface, $plugin);
    };
}

/// Export a validator: once in a plugin's crate.
#[macro_export]
macro_rules! export_validator {
    ($plugin:ty) => {
        $crate::__export!(validator, export_validator_interface, $plugin);
    };
}

/// Components: what the host calls, and what of the plugin it reaches.
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod exports {
    use std::any::Any;
    use std::cell::RefCell;

    use crate::bindings::imports::dataflare::data::batches::Batch as RawBatch;
    use crate::bindings::imports::dataflare::plugin::datasets as wit_datasets;
    use crate::bindings::imports::dataflare::plugin::types::{Health, HealthStatus, Kind, Metadata};
    use crate::log::Level;
    use crate::{Batch, Error, Result, Schema};

    thread_local! {
        static INSTANCE: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
    }

    fn keep<T: 'static>(instance: T) {
        INSTANCE.set(Some(Box::new(instance)));
    }

    fn with<T: 'static, R>(call: impl FnOnce(&mut T) -> Result<R>) -> Result<R> {
        INSTANCE.with_borrow_mut(|instance| match instance.as_mut().and_then(|instance| instance.downcast_mut()) {
            Some(instance) => call(instance),
            None => Err(Error::Unsupported("`configure` comes first".into())),
        })
    }

    fn begin() {
        // The host's interfaces are described in a section of their own, which the linker takes with what refers to it.
        crate::bindings::imports::__link_custom_section_describing_imports();
        crate::report_panics(|message| crate::log::event(Level::Error, message, &[]));
    }

    fn metadata<P: crate::Named, C: crate::Config>(kind: Kind) -> Metadata {
        begin();
        let schema = schemars::schema_for!(C);
        Metadata {
            name: P::NAME.into(),
            version: P::VERSION.into(),
            kind,
            description: P::DESCRIPTION.into(),
            config_schema: schema.as_value().to_string(),
        }
    }

    fn health(message: Result<String>) -> Health {
        let message = message.unwrap_or_default();
        let status = if message.is_empty() { HealthStatus::Healthy } else { HealthStatus::Unhealthy };
        Health { status, message }
    }

    /// The lifecycle of a kind; `$hold` makes what is kept of a plugin.
    macro_rules! lifecycle {
        ($kind:ident, $hold:expr) => {
            pub struct Exports<P>(std::marker::PhantomData<P>);

            impl<P: crate::$kind + crate::Named> crate::bindings::lifecycle::exports::dataflare::plugin::lifecycle::Guest for Exports<P> {
                fn get_metadata() -> Metadata {
                    metadata::<P, P::Config>(Kind::$kind)
                }

                fn configure(config: String) -> Result<()> {
                    begin();
                    keep(($hold)(P::new(crate::config::configured(&config)?)?));
                    Ok(())
                }

                fn initialize() -> Result<()> {
                    with(|held: &mut Held<P>| held.plugin.initialize())
                }

                fn shutdown() -> Result<()> {
                    with(|held: &mut Held<P>| held.plugin.shutdown())
                }

                fn health_check() -> Health {
                    health(with(|held: &mut Held<P>| Ok(held.plugin.health())))
                }
            }
        };
    }

    /// A kind of which nothing but the plugin is kept.
    macro_rules! plain {
        ($kind:ident) => {
            struct Held<P> {
                plugin: P,
            }

            lifecycle!($kind, |plugin| Held::<P> { plugin });
        };
    }

    pub mod processor {
        use super::*;

        plain!(Processor);

        impl<P: crate::Processor + crate::Named> crate::bindings::processor::exports::dataflare::plugin::processor::Guest for Exports<P> {
            fn process(input: String) -> Result<Option<String>> {
                with(|held: &mut Held<P>| crate::processor::process_text(&mut held.plugin, &input))
            }

            fn process_batch(input: RawBatch) -> Result<RawBatch> {
                with(|held: &mut Held<P>| held.plugin.process_batch(Batch::from_raw(input))).map(Batch::into_raw)
            }
        }
    }

    pub mod transformer {
        use super::*;

        plain!(Transformer);

        impl<P: crate::Transformer + crate::Named> crate::bindings::transformer::exports::dataflare::plugin::transformer::Guest for Exports<P> {
            fn output_schema(input: Schema) -> Result<Schema> {
                with(|held: &mut Held<P>| held.plugin.output_schema(input))
            }

            fn transform(input: RawBatch) -> Result<RawBatch> {
                with(|held: &mut Held<P>| held.plugin.transform(Batch::from_raw(input))).map(Batch::into_raw)
            }
        }
    }

    pub mod validator {
        use super::*;
        use crate::bindings::validator::exports::dataflare::plugin::validator as wit;

        plain!(Validator);

        impl<P: crate::Validator + crate::Named> wit::Guest for Exports<P> {
            fn rules() -> Result<Vec<wit::Rule>> {
                let shown = |rule: crate::Rule| wit::Rule { name: rule.name, description: rule.description, severity: rule.severity };
                with(|held: &mut Held<P>| Ok(held.plugin.rules().into_iter().map(shown).collect()))
            }

            fn validate(input: RawBatch) -> Result<wit::Report> {
                let batch = Batch::from_raw(input);
                with(|held: &mut Held<P>| {
                    let found = held.plugin.validate(&batch)?;
                    report(&held.plugin.rules(), batch.len(), found)
                })
            }
        }

        fn report(rules: &[crate::Rule], rows: usize, found: Vec<crate::Violation>) -> Result<wit::Report> {
            let mut counts = vec![0; rules.len()];
            let mut violations = Vec::new();
            for each in found {
                let Some(place) = rules.iter().position(|rule| rule.name == each.rule) else {
                    return Err(Error::Internal(format!("there is no rule {:?}", each.rule)));
                };
                counts[place] += 1;
                if counts[place] as usize <= crate::validator::MOST_REPORTED {
                    let rule = &rules[place];
                    violations.push(wit::Violation {
                        row: each.row.map(|row| row as u32),
                        column: rule.column.clone(),
                        rule: each.rule,
                        severity: rule.severity,
                        message: if each.message.is_empty() { rule.description.clone() } else { each.message },
                    });
                }
            }
            let counts = rules.iter().zip(counts).map(|(rule, violations)| wit::RuleCount { rule: rule.name.clone(), violations });
            Ok(wit::Report { rows_checked: rows as u32, counts: counts.collect(), violations })
        }
    }

    pub mod source {
        use super::*;
        use crate::bindings::source::exports::dataflare::plugin::source as wit;
        use crate::source::{acknowledged, encoded, requests_of, Progress, Read};
        use crate::Mode;

        struct Held<P: crate::Source> {
            plugin: P,
            reading: Option<Read<P::State>>,
        }

        lifecycle!(Source, |plugin| Held::<P> { plugin, reading: None });

        impl<P: crate::Source + crate::Named> wit::Guest for Exports<P> {
            fn discover() -> Result<Vec<wit_datasets::Dataset>> {
                with(|held: &mut Held<P>| Ok(held.plugin.datasets()?.iter().map(described).collect()))
            }

            fn split(selections: Vec<wit::Selection>, state: Option<Vec<u8>>, at_most: u32) -> Result<wit::Division> {
                with(|held: &mut Held<P>| {
                    let request = requests_of(&held.plugin, &selections, None, state.as_deref())?.remove(0);
                    if request.mode == Mode::Changes {
                        let what = format!("dataset {:?}: changes have one order, and no parts", request.dataset.name);
                        return Err(Error::Unsupported(what));
                    }
                    let parts = held.plugin.split(&request, at_most as usize)?;
                    let parts = parts.iter().map(|part| encoded(&request, "part", part)).collect::<Result<_>>()?;
                    Ok(wit::Division { parts, rest: None })
                })
            }

            fn estimate(
                selections: Vec<wit::Selection>,
                part: Option<Vec<u8>>,
                state: Option<Vec<u8>>,
            ) -> Result<Option<wit::EstimatedRows>> {
                with(|held: &mut Held<P>| {
                    let request = requests_of(&held.plugin, &selections, part.as_deref(), state.as_deref())?.remove(0);
                    if request.mode == Mode::Changes {
                        return Ok(None);
                    }
                    Ok(held.plugin.estimate(&request)?.map(|rows| wit::EstimatedRows { rows, exact: true }))
                })
            }

            fn open(selections: Vec<wit::Selection>, part: Option<Vec<u8>>, state: Option<Vec<u8>>) -> Result<Vec<Schema>> {
                with(|held: &mut Held<P>| {
                    held.reading = None;
                    let requests = requests_of(&held.plugin, &selections, part.as_deref(), state.as_deref())?;
                    let reading = Read::begin(&mut held.plugin, requests)?;
                    let schemas = reading.schemas();
                    held.reading = Some(reading);
                    Ok(schemas)
                })
            }

            fn read(max_rows: u32) -> Result<wit::Progress> {
                with(|held: &mut Held<P>| {
                    let Some(reading) = &mut held.reading else {
                        return Err(Error::Unsupported("no read is under way: `open` comes first".into()));
                    };
                    Ok(match reading.next(&mut held.plugin, max_rows as usize)? {
                        None => wit::Progress::Ended,
                        Some(Progress::NewSchema(selection, schema)) => {
                            wit::Progress::NewSchema(wit::SchemaChange { selection: selection as u32, schema })
                        }
                        Some(Progress::Rows(selection, rows, state)) => {
                            wit::Progress::Rows(wit::Chunk { selection: selection as u32, rows: rows.into_raw(), state })
                        }
                        Some(Progress::Idle(state, retry_after_ms)) => wit::Progress::Idle(wit::Pause { state, retry_after_ms }),
                    })
                })
            }

            fn acknowledge(state: Vec<u8>) -> Result<()> {
                with(|held: &mut Held<P>| held.plugin.acknowledge(acknowledged(&state)?))
            }

            fn close() -> Result<()> {
                with(|held: &mut Held<P>| {
                    held.reading = None;
                    Ok(())
                })
            }
        }

        fn described(dataset: &crate::Dataset) -> wit_datasets::Dataset {
            let mut modes = wit_datasets::ReadingModes::empty();
            modes.set(wit_datasets::ReadingModes::FULL, dataset.has_mode(Mode::Full));
            modes.set(wit_datasets::ReadingModes::INCREMENTAL, dataset.has_mode(Mode::Incremental));
            modes.set(wit_datasets::ReadingModes::CHANGES, dataset.has_mode(Mode::Changes));
            modes.set(wit_datasets::ReadingModes::UNBOUNDED, dataset.has_mode(Mode::Changes));
            modes.set(wit_datasets::ReadingModes::SPLITTABLE, dataset.splittable);
            wit_datasets::Dataset {
                name: wit_datasets::DatasetName { namespace: String::new(), name: dataset.name.clone() },
                description: dataset.description.clone(),
                schema: dataset.schema(),
                key: dataset.key.clone(),
                cursors: dataset.cursor.iter().filter(|_| dataset.has_mode(Mode::Incremental)).cloned().collect(),
                modes,
            }
        }
    }

    pub mod destination {
        use super::*;
        use crate::bindings::destination::exports::dataflare::plugin::destination as wit;
        use crate::Target;

        struct Held<P> {
            plugin: P,
            targets: Vec<Target>,
        }

        lifecycle!(Destination, |plugin| Held::<P> { plugin, targets: Vec::new() });

        impl<P> Held<P> {
            fn target(&self, number: u32) -> Result<&Target> {
                let known = self.targets.len();
                self.targets.get(number as usize).ok_or_else(|| Error::InvalidInput(format!("there is no target {number}, only {known}")))
            }
        }

        impl<P: crate::Destination + crate::Named> wit::Guest for Exports<P> {
            fn abilities() -> Result<wit::Ability> {
                Ok(P::ABILITIES)
            }

            fn plan(targets: Vec<wit::Target>) -> Result<Vec<wit::PlannedChange>> {
                let targets: Vec<Target> = targets.into_iter().map(Target::from).collect();
                with(|held: &mut Held<P>| held.plugin.plan(&targets))
            }

            fn open(run: wit::RunName, targets: Vec<wit::Target>) -> Result<Option<Vec<u8>>> {
                let targets: Vec<Target> = targets.into_iter().map(Target::from).collect();
                if let Some(target) = targets.iter().find(|target| !crate::destination::can(P::ABILITIES, target.mode)) {
                    return Err(Error::Unsupported(format!(
                        "dataset {:?}: rows cannot be written in the mode {:?}",
                        target.name, target.mode
                    )));
                }
                with(|held: &mut Held<P>| {
                    let token = held.plugin.open(&run, &targets)?;
                    held.targets = targets;
                    Ok(token)
                })
            }

            fn write(target: u32, rows: RawBatch) -> Result<Vec<wit::RejectedRow>> {
                with(|held: &mut Held<P>| {
                    let target = held.target(target)?.clone();
                    held.plugin.write(&target, Batch::from_raw(rows))
                })
            }

            fn change_schema(number: u32, schema: Schema) -> Result<()> {
                with(|held: &mut Held<P>| {
                    let target = held.target(number)?.clone();
                    crate::destination::require_change(P::ABILITIES, &target, &schema)?;
                    held.plugin.change_schema(&target, schema.clone())?;
                    held.targets[number as usize].schema = schema;
                    Ok(())
                })
            }

            fn flush(token: Vec<u8>) -> Result<bool> {
                with(|held: &mut Held<P>| held.plugin.flush(&token))
            }

            fn finish(token: Vec<u8>) -> Result<()> {
                with(|held: &mut Held<P>| held.plugin.finish(&token))
            }

            fn abort() -> Result<()> {
                with(|held: &mut Held<P>| held.plugin.abort())
            }
        }
    }
}
