//! One request of the admin socket: what is taken, what is answered, who may, and the function that does it.
//!
//! `operations` has a line for each. The router and the OpenAPI document are made of these lines, so there is no
//! request without its documentation.

use super::access::Access;
use super::routes::App;
use super::wire::ErrorAnswer;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value as Json, json};
use std::sync::Arc;

/// One request.
pub(super) struct Operation {
    pub method: &'static str,
    /// Its path; what stands in braces is in [`path_parameter`].
    pub path: &'static str,
    pub summary: &'static str,
    /// Who may ask: readers, or writers only.
    pub access: Access,
    /// The parameters of its query.
    pub parameters: Vec<&'static Parameter>,
    pub body: Option<Content>,
    pub body_may_be_absent: bool,
    /// What a success is, by `Accept`; the first is for whoever does not say.
    pub answers: Vec<Content>,
    /// The statuses of its refusals, in order.
    pub refusals: Vec<u16>,
    /// The function that answers.
    pub route: MethodRouter<Arc<App>>,
}

/// A body, of a request or of an answer.
#[derive(Clone, Copy)]
pub(super) struct Content {
    pub media_type: &'static str,
    pub description: &'static str,
    /// Its shape; of `application/x-ndjson` that of a line.
    pub schema: fn(&mut SchemaGenerator) -> Schema,
}

/// A parameter of a path or a query.
pub(super) struct Parameter {
    pub name: &'static str,
    pub says: &'static str,
    pub value: Value,
}

/// What a parameter takes.
pub(super) enum Value {
    Text,
    /// Text of this form, as an example.
    Like(&'static str),
    Address,
    Event,
    Time,
    TimeOrEvent,
    Flag,
    Number {
        most: usize,
    },
    OneOf(fn() -> Vec<&'static str>),
}

impl Value {
    /// Its JSON schema.
    pub fn schema(&self) -> Json {
        match self {
            Value::Text => json!({ "type": "string" }),
            Value::Like(example) => json!({ "type": "string", "examples": [example] }),
            Value::Address => json!({ "type": "string", "minLength": 3, "examples": ["joe@example.org"] }),
            Value::Event => json!({ "type": "string", "pattern": "^[0-9a-fA-F]{32}$" }),
            Value::Time => json!({ "type": "string", "format": "date-time" }),
            Value::TimeOrEvent => json!({ "anyOf": [Value::Time.schema(), Value::Event.schema()] }),
            Value::Flag => json!({ "type": "boolean", "default": false }),
            Value::Number { most } => json!({ "type": "integer", "minimum": 1, "maximum": most }),
            Value::OneOf(words) => json!({ "type": "string", "enum": words() }),
        }
    }
}

/// A GET, for whoever may read.
pub(super) fn get<H: Handler<T, Arc<App>>, T: 'static>(
    path: &'static str,
    handler: H,
    summary: &'static str,
) -> Operation {
    Operation::new("GET", path, Access::Read, on(MethodFilter::GET, handler), summary)
}

/// A POST, for whoever may write, unless it only asks.
pub(super) fn post<H: Handler<T, Arc<App>>, T: 'static>(
    path: &'static str,
    handler: H,
    summary: &'static str,
) -> Operation {
    Operation::new("POST", path, Access::Write, on(MethodFilter::POST, handler), summary)
}

/// A PUT, for whoever may write.
pub(super) fn put<H: Handler<T, Arc<App>>, T: 'static>(
    path: &'static str,
    handler: H,
    summary: &'static str,
) -> Operation {
    Operation::new("PUT", path, Access::Write, on(MethodFilter::PUT, handler), summary)
}

/// A DELETE, for whoever may write.
pub(super) fn delete<H: Handler<T, Arc<App>>, T: 'static>(
    path: &'static str,
    handler: H,
    summary: &'static str,
) -> Operation {
    Operation::new("DELETE", path, Access::Write, on(MethodFilter::DELETE, handler), summary)
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

impl Operation {
    fn new(
        method: &'static str,
        path: &'static str,
        access: Access,
        route: MethodRouter<Arc<App>>,
        summary: &'static str,
    ) -> Operation {
        // A query, a path or a header that cannot be read; a peer that may not; a value that will not do; trouble.
        let refusals = vec![400, 403, 422, 500, 503];
        let (parameters, answers) = (Vec::new(), Vec::new());
        let (body, body_may_be_absent) = (None, false);
        Operation { method, path, summary, access, parameters, body, body_may_be_absent, answers, refusals, route }
    }

    /// Readers may ask it, though it is a POST.
    pub fn only_asks(mut self) -> Operation {
        self.access = Access::Read;
        self
    }

    /// The parameters of its query.
    pub fn takes(mut self, parameters: &[&'static Parameter]) -> Operation {
        self.parameters.extend(parameters);
        self
    }

    /// A JSON body.
    pub fn reads<T: JsonSchema>(self) -> Operation {
        self.reads_as("application/json", "", schema_of::<T>)
    }

    /// A mail as the body.
    pub fn reads_mail(self) -> Operation {
        self.reads_as("message/rfc822", "A mail.", |_| json_schema!({ "minLength": 1 }))
    }

    /// A list of any length as the body, or nothing, which is a list, too.
    pub fn reads_list(mut self) -> Operation {
        self.body_may_be_absent = true;
        self.reads_as("application/octet-stream", "A list of any length, in one of the formats.", |_| json_schema!({}))
    }

    fn reads_as(
        mut self,
        media_type: &'static str,
        description: &'static str,
        schema: fn(&mut SchemaGenerator) -> Schema,
    ) -> Operation {
        self.body = Some(Content { media_type, description, schema });
        // It came too slowly, or there is too much of it.
        self.refuses(&[408, 413])
    }

    /// A JSON object is answered.
    pub fn answers<T: JsonSchema>(self) -> Operation {
        self.or("application/json", "", schema_of::<T>)
    }

    /// Lines are answered that tell how far the work is; the last says what came of it.
    pub fn answers_lines<T: JsonSchema>(self) -> Operation {
        self.or("application/x-ndjson", "One object a line; the last line is the outcome.", schema_of::<T>)
    }

    /// A list is answered: pages of JSON, or rows as NDJSON or CSV.
    pub fn lists<Page: JsonSchema, Row: JsonSchema>(self) -> Operation {
        self.answers::<Page>().lists_rows::<Row>()
    }

    /// Rows are answered, as NDJSON or CSV.
    pub fn lists_rows<Row: JsonSchema>(self) -> Operation {
        self.or("application/x-ndjson", "One object a line.", schema_of::<Row>)
            .or("text/csv", "RFC 4180, with a head.", schema_of::<String>)
            .refuses(&[406, 409])
    }

    /// Text is answered.
    pub fn answers_text(self, media_type: &'static str) -> Operation {
        self.or(media_type, "", schema_of::<String>)
    }

    /// A further type that is answered.
    pub fn or(
        mut self,
        media_type: &'static str,
        description: &'static str,
        schema: fn(&mut SchemaGenerator) -> Schema,
    ) -> Operation {
        self.answers.push(Content { media_type, description, schema });
        self
    }

    /// Further statuses of its refusals.
    pub fn refuses(mut self, statuses: &[u16]) -> Operation {
        self.refusals.extend(statuses);
        self.refusals.sort_unstable();
        self.refusals.dedup();
        self
    }

    /// The names in the braces of its path.
    pub fn path_names(&self) -> impl Iterator<Item = &'static str> {
        self.path.split('/').filter_map(|piece| piece.strip_prefix('{')?.strip_suffix('}'))
    }
}

/// The shape of a refusal.
pub(super) fn refusal(generator: &mut SchemaGenerator) -> Schema {
    schema_of::<ErrorAnswer>(generator)
}
