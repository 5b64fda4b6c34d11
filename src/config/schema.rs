//! JSON Schema (draft 2020-12) of a file format, written from the words that its reader knows.
//!
//! It is for editors: what it accepts has the right words in the right places. What the words mean
//! together, only `sipliance check` knows.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use super::yaml::words::{Block, Takes, Word};

/// A param, which may stand for every single value.
const PLACEHOLDER: &str = "<[A-Za-z0-9_-]+(:[a-z0-9]+)?>";
const TIME: &str = "^[0-9]+(\\.[0-9]*)?(ms|s|m|min|h|d)$";
const ID: &str = "^[a-z][a-z0-9_-]{0,39}$";

/// The schema of the format whose file is `root`. What is `Takes::Chosen` there depends on the value of the
/// word `chooser`, which takes one of a few words.
pub fn schema(root: &'static Block, title: &str, chooser: &'static str) -> Json {
    let mut defs = Defs { all: BTreeMap::new(), choice: None };
    let mut file = defs.block(root);
    let choices = match root.word(chooser).map(|word| word.takes) {
        Some(Takes::OneOf(words)) => words(),
        _ => Vec::new(),
    };
    let rules: Vec<Json> = choices.into_iter().map(|choice| defs.rule(root, chooser, choice)).collect();
    if let Json::Object(file) = &mut file {
        file.insert("$schema".into(), "https://json-schema.org/draft/2020-12/schema".into());
        file.insert("title".into(), title.into());
        file.insert("allOf".into(), rules.into());
        file.insert("$defs".into(), Json::Object(defs.all.into_iter().collect()));
    }
    file
}

struct Defs {
    all: BTreeMap<String, Json>,
    /// The value of the word that decides, where one is looked at.
    choice: Option<&'static str>,
}

impl Defs {
    /// A block with what does not depend on the choice, or is chosen.
    fn block(&mut self, block: &'static Block) -> Json {
        let mut properties = Map::new();
        for word in block.all() {
            properties.insert(word.key.into(), self.word(word));
        }
        let must: Vec<&str> = block.all().filter(|word| word.must).map(|word| word.key).collect();
        let mut out =
            json!({"type": "object", "title": block.about.replace('`', ""), "properties": properties});
        if let Json::Object(out) = &mut out {
            out.insert(
                "additionalProperties".into(),
                block.others.map_or(false.into(), |takes| self.takes(takes)),
            );
            if !must.is_empty() {
                out.insert("required".into(), must.into());
            }
            let needs = block.needs.iter().map(|(word, value, other)| {
                json!({"if": {"properties": {*word: {"const": value}}, "required": [word]}, "then": {"required": [other]}})
            });
            let needs: Vec<Json> = needs.collect();
            if !needs.is_empty() {
                out.insert("allOf".into(), needs.into());
            }
        }
        out
    }

    fn word(&mut self, word: &'static Word) -> Json {
        let decided = self.choice.is_some() || !chosen(word.takes);
        let mut out = if decided { self.takes(word.takes) } else { json!({}) };
        if let Json::Object(out) = &mut out {
            out.insert("description".into(), word.about.replace('`', "").into());
        }
        out
    }

    /// What holds for one value of the word that decides.
    fn rule(&mut self, root: &'static Block, chooser: &str, choice: &'static str) -> Json {
        self.choice = Some(choice);
        let depends = root.all().filter(|word| chosen(word.takes));
        let then: Map<String, Json> = depends.map(|word| (word.key.into(), self.takes(word.takes))).collect();
        self.choice = None;
        json!({
            "if": {"properties": {chooser: {"const": choice}}, "required": [chooser]},
            "then": {"properties": then},
        })
    }

    fn takes(&mut self, takes: Takes) -> Json {
        match takes {
            Takes::Text => json!({"type": ["string", "number", "boolean"]}),
            Takes::Topic => json!({"type": "string", "pattern": "^[^+#]+$"}),
            Takes::Pointer => json!({"type": "string", "pattern": "^(/|$)"}),
            Takes::Pattern => json!({"type": "string"}),
            Takes::Bool => or_param(json!({"type": "boolean"})),
            Takes::Int(low, high) => or_param(json!({"type": "integer", "minimum": low, "maximum": high})),
            Takes::Number => or_param(json!({"type": "number"})),
            Takes::Time => or_param(json!({"type": "string", "pattern": TIME})),
            Takes::OneOf(words) => {
                or_param(json!({"enum": words().into_iter().flat_map(spelled).collect::<Vec<_>>()}))
            }
            Takes::Block(block) => self.reference(block),
            Takes::Blocks(block) => {
                let one = self.reference(block);
                json!({"anyOf": [one.clone(), {"type": "array", "items": one, "minItems": 1}]})
            }
            Takes::ListOf(block) => json!({"type": "array", "items": self.reference(block), "minItems": 1}),
            Takes::Each(takes) => json!({"type": "object", "additionalProperties": self.takes(*takes)}),
            Takes::Ids(block) => json!({
                "type": "object",
                "propertyNames": {"pattern": ID},
                "additionalProperties": self.reference(block),
            }),
            Takes::List(takes) => json!({"type": "array", "items": self.takes(*takes)}),
            Takes::Either(all) => {
                json!({"anyOf": all.iter().map(|takes| self.takes(*takes)).collect::<Vec<_>>()})
            }
            Takes::Chosen(choose) => match self.choice.and_then(choose) {
                Some(takes) => self.takes(takes),
                None => json!({"not": {}}),
            },
            Takes::Any => json!({}),
        }
    }

    /// The block as a definition of its own; one for each choice where it depends on that.
    fn reference(&mut self, block: &'static Block) -> Json {
        let mut name = block.name.replace(' ', "-");
        if let Some(choice) = self.choice.filter(|_| block.all().any(|word| chosen(word.takes))) {
            name = format!("{name}-of-{choice}");
        }
        if !self.all.contains_key(&name) {
            let schema = self.block(block);
            self.all.insert(name.clone(), schema);
        }
        json!({"$ref": format!("#/$defs/{name}")})
    }
}

/// Whether something in it depends on the choice.
fn chosen(takes: Takes) -> bool {
    let within = |block: &'static Block| block.all().any(|word| chosen(word.takes));
    match takes {
        Takes::Chosen(_) => true,
        Takes::Block(block) | Takes::Blocks(block) | Takes::ListOf(block) | Takes::Ids(block) => {
            within(block)
        }
        Takes::Each(takes) | Takes::List(takes) => chosen(*takes),
        Takes::Either(all) => all.iter().copied().any(chosen),
        _ => false,
    }
}

/// `1` and `"1"` are one word to the reader.
fn spelled(word: &'static str) -> Vec<Json> {
    let number = word.parse::<i64>().ok().map(Json::from);
    number.into_iter().chain([word.into()]).collect()
}

fn or_param(schema: Json) -> Json {
    json!({"anyOf": [schema, {"type": "string", "pattern": PLACEHOLDER}]})
}
