//! Lists: JSON in pages, and rows as NDJSON or CSV, in pages or whole, by `Accept` and `limit`. However long a list
//! is, no more of it is held than a page.

use super::answer::{Format, Refusal, blocking, json};
use super::given::LIMIT;
use super::routes::{App, turn};
use super::stream;
use crate::store::StoreError;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// The field that carries the next page's cursor where the body has no place for it.
pub(super) const NEXT_CURSOR: &str = "backstop-next-cursor";

/// One row of a list.
pub(super) trait Row: Serialize + Send + 'static {
    /// The head of its CSV, with its line end.
    const CSV_HEAD: &'static str;
    /// Its line of CSV.
    fn csv(&self) -> String;
}

/// Rows, and what to pass as `cursor` for those behind them.
pub(super) type Page<R> = (Vec<R>, Option<String>);

/// What of a list is asked for, and how it is written.
pub(super) struct Asked {
    pub format: Format,
    pub cursor: Option<String>,
    pub limit: Option<usize>,
}

/// Answers with a list. `page` reads the rows behind a cursor, about as many as it is told; `whole` is the JSON of
/// a page. JSON comes in pages of 1000 if nothing is said; NDJSON and CSV without a `limit` are the whole list.
///
/// # Errors
/// 409 while too many long lists are written, and what the store says of the first page.
pub(super) async fn list<R: Row, A: Serialize>(
    app: &App,
    asked: Asked,
    mut page: impl FnMut(Option<&str>, usize) -> Result<Page<R>, StoreError> + Send + 'static,
    whole: fn(Vec<R>, Option<String>) -> A,
) -> Result<Response, Refusal> {
    let Asked { format, mut cursor, limit } = asked;
    if format != Format::Json && limit.is_none() {
        let place = turn(&app.lists, "the writing of 16 long lists")?;
        return Ok(stream::list(format.content_type(), place, move |pieces| {
            pieces.write(format.head::<R>().as_bytes())?;
            loop {
                let (rows, next) = page(cursor.as_deref(), LIMIT)?;
                for row in rows {
                    match format {
                        Format::Json | Format::NdJson => pieces.line(&row)?,
                        Format::Csv => pieces.write(row.csv().as_bytes())?,
                    }
                }
                match next {
                    Some(next) => cursor = Some(next),
                    None => return Ok(()),
                }
            }
        }));
    }
    let (rows, next) = blocking(move || page(cursor.as_deref(), limit.unwrap_or(LIMIT))).await?;
    if format == Format::Json {
        return Ok(json(&whole(rows, next)));
    }
    let body = [format.head::<R>().as_bytes(), &written(format, &rows).map_err(internal)?].concat();
    Ok(page_of(format, body, next))
}

/// A page of NDJSON or CSV. The cursor may be an address with letters beyond ASCII.
pub(super) fn page_of(format: Format, body: Vec<u8>, next: Option<String>) -> Response {
    let mut response = ([(header::CONTENT_TYPE, format.content_type())], body).into_response();
    if let Some(next) = next.and_then(|next| HeaderValue::from_bytes(next.as_bytes()).ok()) {
        response.headers_mut().insert(NEXT_CURSOR, next);
    }
    response
}

impl Format {
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::NdJson => "application/x-ndjson",
            Format::Csv => "text/csv; charset=utf-8",
        }
    }

    /// What stands before the first row.
    pub fn head<R: Row>(self) -> &'static str {
        match self {
            Format::Json | Format::NdJson => "",
            Format::Csv => R::CSV_HEAD,
        }
    }
}

/// 500, for rows that cannot be written.
pub(super) fn internal(error: std::io::Error) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
}

/// Rows as NDJSON or CSV.
pub(super) fn written<R: Row>(format: Format, rows: &[R]) -> std::io::Result<bytes::Bytes> {
    match format {
        Format::Json | Format::NdJson => super::answer::ndjson(rows),
        Format::Csv => Ok(rows.iter().map(Row::csv).collect::<String>().into()),
    }
}
