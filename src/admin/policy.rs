//! The policy in force, as a whole.

use super::answer::{Parameters, Refusal, json};
use super::routes::App;
use super::wire_policy::PolicyAnswer;
use axum::extract::{Request, State};
use axum::response::Response;
use std::sync::Arc;

/// `GET /v1/policy`.
pub(super) async fn show(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    Parameters::read(&request, &[])?;
    Ok(json(&PolicyAnswer::from(&app.service.in_force().policy)))
}
