//! `GET /v1/openapi.json`: the admin API as OpenAPI 3.1 describes it, made of the lines in `operations` and of the
//! JSON shapes in `wire`.

use super::access::Access;
use super::answer::{Parameters, Refusal};
use super::listing::NEXT_CURSOR;
use super::operation::{Content, Operation, Parameter, refusal};
use super::operations::{operations, path_parameter};
use axum::extract::Request;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value as Json, json};
use std::sync::OnceLock;

/// Where the document keeps its schemas.
const SCHEMAS: &str = "/components/schemas";

/// `GET /v1/openapi.json`.
pub(super) async fn show(request: Request) -> Result<Response, Refusal> {
    static WRITTEN: OnceLock<Bytes> = OnceLock::new();
    Parameters::read(&request, &[])?;
    let written = WRITTEN.get_or_init(|| format!("{:#}\n", document(&operations())).into());
    Ok(([(header::CONTENT_TYPE, "application/json")], written.clone()).into_response())
}

/// The document for these requests.
pub(super) fn document(operations: &[Operation]) -> Json {
    let settings = || {
        SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = SCHEMAS.into();
            settings.meta_schema = None;
            settings.transforms.push(Box::new(RecursiveTransform(words)));
        })
    };
    // What we read may leave out what we always write.
    let mut asked = SchemaGenerator::new(settings().for_deserialize());
    let mut answered = SchemaGenerator::new(settings().for_serialize());
    let mut paths = Map::new();
    for operation in operations {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method.to_lowercase()] = described(operation, &mut asked, &mut answered);
    }
    let error = json!({ "application/json": { "schema": refusal(&mut answered) } });
    let mut schemas = asked.take_definitions(true);
    schemas.extend(answered.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Backstop admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Who must not be mailed, why, on what evidence. Served on a Unix socket; peer credentials \
                            decide who may read and who may write. Times are RFC 3339 in UTC. Lists come as JSON \
                            pages, and as application/x-ndjson (one object a line) or text/csv by Accept. What is no \
                            HTTP/1.1 is answered with 400, and a head of too many fields or octets with 431, without a \
                            body, before any of these requests is looked for; then the connection is closed.",
            "license": { "name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0" },
        },
        "servers": [{ "url": "/", "description": "The admin socket, by default /run/backstop/admin.sock." }],
        "tags": [
            { "name": "read", "description": "For members of backstop-read and backstop-admin." },
            { "name": "write", "description": "For root and members of backstop-admin." },
        ],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": { "Refusal": { "description": "What is wrong, and what would do.", "content": error } },
        },
    })
}

fn described(operation: &Operation, asked: &mut SchemaGenerator, answered: &mut SchemaGenerator) -> Json {
    let in_path = operation.path_names().map(|name| parameter(path_parameter(name), "path"));
    let in_query = operation.parameters.iter().map(|one| parameter(one, "query"));
    let parameters: Vec<Json> = in_path.chain(in_query).collect();
    let mut success = json!({ "description": "Done.", "content": contents(&operation.answers, answered) });
    if operation.parameters.iter().any(|parameter| parameter.name == "cursor") {
        let says = "With `limit`, of NDJSON and CSV: what to pass as `cursor` for the next page.";
        success["headers"] = json!({ NEXT_CURSOR: { "description": says, "schema": { "type": "string" } } });
    }
    let mut responses = Map::from_iter([("200".to_owned(), success)]);
    for status in &operation.refusals {
        responses.insert(status.to_string(), json!({ "$ref": "#/components/responses/Refusal" }));
    }
    let mut described = json!({
        "operationId": operation_id(operation),
        "summary": operation.summary,
        "tags": [if operation.access == Access::Write { "write" } else { "read" }],
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(body) = operation.body {
        described["requestBody"] =
            json!({ "required": !operation.body_may_be_absent, "content": contents(&[body], asked) });
        if !body.description.is_empty() {
            described["requestBody"]["description"] = body.description.into();
        }
    }
    described
}

/// A choice between words becomes an `enum`, as generators of clients want it; what each means goes with the whole.
fn words(schema: &mut Schema) {
    let choice = |one: &Json| Some((one.get("const")?.as_str()?.to_owned(), one.get("description").cloned()));
    let Some(choices) = schema.get("oneOf").and_then(Json::as_array) else { return };
    let Some(choices) = choices.iter().map(choice).collect::<Option<Vec<_>>>() else { return };
    let mut description = schema.get("description").and_then(Json::as_str).unwrap_or_default().to_owned();
    for (word, means) in &choices {
        if let Some(means) = means.as_ref().and_then(Json::as_str) {
            description.push_str(&format!("\n- `{word}`: {means}"));
        }
    }
    let words: Vec<String> = choices.into_iter().map(|(word, _)| word).collect();
    schema.remove("oneOf");
    schema.insert("type".to_owned(), "string".into());
    schema.insert("enum".to_owned(), words.into());
    schema.insert("description".to_owned(), description.into());
}

/// `get_contacts_address_explain`.
fn operation_id(operation: &Operation) -> String {
    let words = operation.path.split(['/', '{', '}', '.']).filter(|word| !matches!(*word, "" | "v1" | "json"));
    std::iter::once(operation.method.to_lowercase().as_str()).chain(words).collect::<Vec<_>>().join("_")
}

fn parameter(parameter: &Parameter, place: &str) -> Json {
    let mut described = json!({
        "name": parameter.name,
        "in": place,
        "required": place == "path",
        "description": parameter.says,
        "schema": parameter.value.schema(),
    });
    if place == "query" {
        // As good as none: see `Parameters::read`.
        described["allowEmptyValue"] = true.into();
    }
    described
}

fn contents(contents: &[Content], generator: &mut SchemaGenerator) -> Json {
    let of = |content: &Content| {
        let mut schema = (content.schema)(generator).to_value();
        // Beside a reference, too, a description may stand (JSON Schema 2020-12).
        if let (false, Some(schema)) = (content.description.is_empty(), schema.as_object_mut()) {
            schema.insert("description".to_owned(), content.description.into());
        }
        (content.media_type.to_owned(), json!({ "schema": schema }))
    };
    contents.iter().map(of).collect::<Map<String, Json>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;
    use std::collections::BTreeSet;

    #[test]
    fn every_request_is_described_once_and_refuses_with_statuses_of_http() {
        let operations = operations();
        let ids: BTreeSet<String> = operations.iter().map(operation_id).collect();
        assert_eq!(ids.len(), operations.len(), "{ids:?}");
        for operation in &operations {
            assert!(!operation.answers.is_empty(), "{} {}: answers nothing", operation.method, operation.path);
            for status in &operation.refusals {
                let known = StatusCode::from_u16(*status).is_ok_and(|status| status.canonical_reason().is_some());
                assert!(known && *status >= 400, "{} {}: {status}", operation.method, operation.path);
            }
        }
    }

    #[test]
    fn a_shape_that_is_asked_for_and_answered_is_the_same_both_ways() {
        let settings = || SchemaSettings::draft2020_12();
        let mut asked = SchemaGenerator::new(settings().for_deserialize());
        let mut answered = SchemaGenerator::new(settings().for_serialize());
        for operation in operations() {
            operation.body.map(|body| (body.schema)(&mut asked));
            operation.answers.iter().for_each(|answer| drop((answer.schema)(&mut answered)));
        }
        let answered = answered.take_definitions(true);
        for (name, asked) in asked.take_definitions(true) {
            if let Some(answered) = answered.get(&name) {
                assert_eq!(&asked, answered, "{name}: one of the two hides the other in the document");
            }
        }
    }
}
