//! What providers report, in their shapes, as one usage.

use super::json::Json;
use super::rate::scaled;
use super::{AUDIO_CACHE_READ, AUDIO_INPUT, AUDIO_OUTPUT, IMAGE_OUTPUT, WEB_SEARCHES};
use crate::error::Error;
use crate::usage::Usage;

/// The shape in which an answer reports its usage.
///
/// A plain answer, a stream of events and an array of them are read alike: counts in a stream are running totals, so
/// the largest that was seen is the one that holds, and an event that leaves a count out or states 0 takes nothing back.
///
/// ```
/// use keyward::price::Shape;
/// use keyward::Usage;
///
/// let stream = r#"
/// event: message_start
/// data: {"type": "message_start", "message": {"usage": {"input_tokens": 25, "cache_read_input_tokens": 400,
/// data:   "cache_creation_input_tokens": 0, "output_tokens": 1}}}
///
/// event: message_delta
/// data: {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 15}}
/// "#;
/// let plain = br#"{"usage": {"input_tokens": 25, "cache_read_input_tokens": 400, "cache_creation_input_tokens": 0,
///     "output_tokens": 15}}"#;
/// let usage = Shape::Anthropic.read(stream.as_bytes())?;
/// assert_eq!(usage, Some(Usage::new().input(25).cache_read(400).cache_write_5m(0).output(15)));
/// assert_eq!(Shape::Anthropic.read(plain)?, usage);
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Shape {
    /// OpenAI's chat completions, and what follows them: `prompt_tokens`, caches included.
    OpenAiChat,
    /// OpenAI's responses: `input_tokens`, caches included.
    OpenAiResponses,
    /// Anthropic's messages: `input_tokens`, caches beside them.
    Anthropic,
    /// Gemini's `usageMetadata`: `promptTokenCount`, caches included, and thoughts beside the candidates.
    Gemini,
}

impl Shape {
    /// The usage that an answer states, if it states any: a JSON body, or all the events of a
    /// stream. An answer that is neither states none.
    ///
    /// # Errors
    /// JSON that is broken; counts that are no counts, or that contradict one another, by the provider's field.
    pub fn read(self, answer: &[u8]) -> Result<Option<Usage>, Error> {
        let mut tally = Tally::new(self);
        let start = answer.strip_prefix(b"\xef\xbb\xbf").unwrap_or(answer).trim_ascii_start();
        let is_json = matches!(start.first(), Some(b'{' | b'['));
        let taken = if is_json { tally.event(answer) } else { tally.stream(answer) };
        taken?;
        tally.usage()
    }
}

/// The usage of one answer while its events come in.
///
/// ```
/// use keyward::price::{Shape, Tally};
///
/// let mut tally = Tally::new(Shape::OpenAiChat);
/// for data in [r#"{"choices": [{"delta": {"content": "Hi"}}], "usage": null}"#,
///     r#"{"choices": [], "usage": {"prompt_tokens": 8, "completion_tokens": 2, "total_tokens": 10}}"#, "[DONE]"] {
///     tally.event(data.as_bytes())?;
/// }
/// assert_eq!(tally.usage()?, Some(keyward::Usage::new().input(8).output(2)));
/// # Ok::<(), keyward::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Tally {
    shape: Shape,
    seen: Counts,
}

/// The largest of each count that was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    prompt: Option<u64>,
    cached: Option<u64>,
    /// Written to caches of any life.
    written: Option<u64>,
    written_5m: Option<u64>,
    written_1h: Option<u64>,
    tool_prompt: Option<u64>,
    output: Option<u64>,
    reasoning: Option<u64>,
    total: Option<u64>,
    audio_input: Option<u64>,
    audio_cached: Option<u64>,
    audio_output: Option<u64>,
    image_output: Option<u64>,
    searches: Option<u64>,
}

impl Tally {
    /// Nothing was seen yet.
    pub fn new(shape: Shape) -> Self {
        Self { shape, seen: Counts::default() }
    }

    /// Takes the data of one event, or a whole body, or an array of either. `[DONE]` says nothing.
    ///
    /// # Errors
    /// Data that is not JSON, and counts that are no counts. What was seen before stays.
    pub fn event(&mut self, data: &[u8]) -> Result<(), Error> {
        if data.trim_ascii() == b"[DONE]" {
            return Ok(());
        }
        let json = Json::read("usage", data)?;
        let mut seen = self.seen;
        match &json {
            Json::List(events) => events.iter().try_for_each(|event| seen.take(self.shape, event))?,
            event => seen.take(self.shape, event)?,
        }
        self.seen = seen;
        Ok(())
    }

    /// Takes server-sent events as they stand in a stream, each of them whole.
    ///
    /// # Errors
    /// As [`Tally::event`]; what came before the event at fault is taken.
    pub fn stream(&mut self, events: &[u8]) -> Result<(), Error> {
        let mut data = Vec::new();
        for line in events.split(|byte| *byte == b'\n').chain([&b""[..]]) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if let Some(more) = line.strip_prefix(b"data:") {
                data.extend_from_slice(more);
                data.push(b'\n');
            } else if line.is_empty() && !data.trim_ascii().is_empty() {
                self.event(&std::mem::take(&mut data))?;
            }
        }
        Ok(())
    }

    /// The usage in its normal form; `None` as long as no event has stated any.
    ///
    /// # Errors
    /// Counts that contradict one another, by the provider's field.
    pub fn usage(&self) -> Result<Option<Usage>, Error> {
        if self.seen == Counts::default() {
            return Ok(None);
        }
        let usage = match self.shape {
            Shape::Anthropic => self.seen.beside()?,
            Shape::OpenAiChat | Shape::OpenAiResponses | Shape::Gemini => self.seen.inside(self.shape)?,
        };
        usage.check()?;
        Ok(Some(usage))
    }
}

impl Counts {
    fn take(&mut self, shape: Shape, event: &Json<'_>) -> Result<(), Error> {
        let usages = match shape {
            Shape::OpenAiChat => [event.get("usage"), None],
            Shape::OpenAiResponses => [event.get("usage"), event.get("response").and_then(|json| json.get("usage"))],
            Shape::Anthropic => [event.get("usage"), event.get("message").and_then(|json| json.get("usage"))],
            Shape::Gemini => {
                [event.get("usageMetadata"), event.get("response").and_then(|json| json.get("usageMetadata"))]
            }
        };
        usages.into_iter().flatten().try_for_each(|usage| match shape {
            Shape::OpenAiChat => self.chat(usage),
            Shape::OpenAiResponses => self.responses(usage),
            Shape::Anthropic => self.messages(usage),
            Shape::Gemini => self.gemini(usage),
        })
    }

    fn chat(&mut self, usage: &Json<'_>) -> Result<(), Error> {
        note(&mut self.prompt, usage, "prompt_tokens")?;
        note(&mut self.output, usage, "completion_tokens")?;
        note(&mut self.total, usage, "total_tokens")?;
        note(&mut self.cached, usage, "prompt_cache_hit_tokens")?;
        if let Some(details) = usage.get("prompt_tokens_details") {
            note(&mut self.cached, details, "cached_tokens")?;
            note(&mut self.audio_input, details, "audio_tokens")?;
        }
        if let Some(details) = usage.get("completion_tokens_details") {
            note(&mut self.reasoning, details, "reasoning_tokens")?;
            note(&mut self.audio_output, details, "audio_tokens")?;
        }
        Ok(())
    }

    fn responses(&mut self, usage: &Json<'_>) -> Result<(), Error> {
        note(&mut self.prompt, usage, "input_tokens")?;
        note(&mut self.output, usage, "output_tokens")?;
        note(&mut self.total, usage, "total_tokens")?;
        if let Some(details) = usage.get("input_tokens_details") {
            note(&mut self.cached, details, "cached_tokens")?;
        }
        if let Some(details) = usage.get("output_tokens_details") {
            note(&mut self.reasoning, details, "reasoning_tokens")?;
        }
        Ok(())
    }

    fn messages(&mut self, usage: &Json<'_>) -> Result<(), Error> {
        note(&mut self.prompt, usage, "input_tokens")?;
        note(&mut self.cached, usage, "cache_read_input_tokens")?;
        note(&mut self.written, usage, "cache_creation_input_tokens")?;
        note(&mut self.output, usage, "output_tokens")?;
        if let Some(written) = usage.get("cache_creation") {
            note(&mut self.written_5m, written, "ephemeral_5m_input_tokens")?;
            note(&mut self.written_1h, written, "ephemeral_1h_input_tokens")?;
        }
        if let Some(tools) = usage.get("server_tool_use") {
            note(&mut self.searches, tools, "web_search_requests")?;
        }
        Ok(())
    }

    fn gemini(&mut self, usage: &Json<'_>) -> Result<(), Error> {
        note(&mut self.prompt, usage, "promptTokenCount")?;
        note(&mut self.cached, usage, "cachedContentTokenCount")?;
        note(&mut self.tool_prompt, usage, "toolUsePromptTokenCount")?;
        note(&mut self.output, usage, "candidatesTokenCount")?;
        note(&mut self.reasoning, usage, "thoughtsTokenCount")?;
        note(&mut self.total, usage, "totalTokenCount")?;
        for (slot, details, modality) in [
            (&mut self.audio_input, "promptTokensDetails", "AUDIO"),
            (&mut self.audio_cached, "cacheTokensDetails", "AUDIO"),
            (&mut self.audio_output, "candidatesTokensDetails", "AUDIO"),
            (&mut self.image_output, "candidatesTokensDetails", "IMAGE"),
        ] {
            let details = usage.get(details).map(Json::list).unwrap_or_default();
            let own = |detail: &&Json<'_>| detail.get("modality").and_then(Json::text) == Some(modality);
            details.iter().filter(own).try_for_each(|detail| note(slot, detail, "tokenCount"))?;
        }
        Ok(())
    }

    /// Counts of a prompt that has its caches inside it.
    fn inside(&self, shape: Shape) -> Result<Usage, Error> {
        let names = match shape {
            Shape::Gemini => ["promptTokenCount", "cachedContentTokenCount", "candidatesTokenCount"],
            Shape::OpenAiResponses => ["input_tokens", "cached_tokens", "output_tokens"],
            Shape::OpenAiChat | Shape::Anthropic => ["prompt_tokens", "cached_tokens", "completion_tokens"],
        };
        let [prompt_name, cached_name, output_name] = names;
        let cached = self.cached.unwrap_or(0);
        let mut usage = Usage::new();
        if let Some(prompt) = self.prompt {
            let fresh = less(cached_name, prompt, cached)?;
            // Sound that a cache supplied may be counted in both; where nobody says, as much as fits was not cached.
            let audio_cached = self.audio_cached.unwrap_or(0).min(cached);
            let audio = self.audio_input.unwrap_or(0).saturating_sub(audio_cached).min(fresh);
            usage.input = Some(more(prompt_name, fresh - audio, self.tool_prompt.unwrap_or(0))?);
            usage = extras(usage, [(AUDIO_INPUT, audio), (AUDIO_CACHE_READ, audio_cached)]);
            usage.cache_read = self.cached.map(|cached| cached - audio_cached);
        } else {
            usage.input = self.tool_prompt;
            usage.cache_read = self.cached;
        }
        if let Some(output) = self.output.or(self.reasoning.filter(|_| shape == Shape::Gemini).map(|_| 0)) {
            let reasoning = self.reasoning.unwrap_or(0);
            let output =
                if self.reasoning_is_beside(shape, output) { more(output_name, output, reasoning)? } else { output };
            let (audio, image) = (self.audio_output.unwrap_or(0), self.image_output.unwrap_or(0));
            usage.output = Some(less(output_name, output, more(output_name, audio, image)?)?);
            usage = extras(usage, [(AUDIO_OUTPUT, audio), (IMAGE_OUTPUT, image)]);
        }
        usage.reasoning = self.reasoning;
        Ok(usage)
    }

    /// Whether reasoning is counted beside the output rather than in it. The total knows; without one, the shape does.
    fn reasoning_is_beside(&self, shape: Shape, output: u64) -> bool {
        let sum = |parts: &[u64]| parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(*part));
        let prompt = [self.prompt.unwrap_or(0), self.tool_prompt.unwrap_or(0)];
        let inside = sum(&[&prompt[..], &[output]].concat());
        let beside = sum(&[&prompt[..], &[output, self.reasoning.unwrap_or(0)]].concat());
        match self.total {
            total @ Some(_) if total == inside => false,
            total @ Some(_) if total == beside => true,
            _ => shape == Shape::Gemini,
        }
    }

    /// Counts of an input that has its caches beside it.
    fn beside(&self) -> Result<Usage, Error> {
        let mut usage = Usage::new();
        usage.input = self.prompt;
        usage.cache_read = self.cached;
        usage.output = self.output;
        usage.cache_write_5m = self.written_5m;
        usage.cache_write_1h = self.written_1h;
        if let Some(written) = self.written {
            let known = more("cache_creation", self.written_5m.unwrap_or(0), self.written_1h.unwrap_or(0))?;
            let rest = written.saturating_sub(known);
            // What is written lives five minutes unless all that was said of it is that it lives an hour.
            if self.written_5m.is_none_or(|count| count == 0) && self.written_1h.is_some_and(|count| count > 0) {
                usage.cache_write_1h = Some(more("cache_creation", self.written_1h.unwrap_or(0), rest)?);
            } else {
                usage.cache_write_5m = Some(more("cache_creation", self.written_5m.unwrap_or(0), rest)?);
            }
        }
        Ok(extras(usage, [(WEB_SEARCHES, self.searches.unwrap_or(0))]))
    }
}

/// Raises a count to what is stated under this name; what is absent or null states nothing.
fn note(slot: &mut Option<u64>, json: &Json<'_>, name: &'static str) -> Result<(), Error> {
    let count = match json.get(name) {
        None | Some(Json::Null) => return Ok(()),
        Some(Json::Number(text)) => scaled(text, 0).ok().and_then(|count| u64::try_from(count).ok()),
        Some(_) => None,
    };
    let shown = || json.get(name).map_or("", Json::show).to_owned();
    let count = count.ok_or_else(|| refuse(name, shown(), "a whole number from 0 to 2^63 - 1"))?;
    *slot = (*slot).max(Some(count));
    Ok(())
}

/// Extras of which there are any.
fn extras<const N: usize>(usage: Usage, extras: [(&str, u64); N]) -> Usage {
    extras.into_iter().filter(|(_, count)| *count > 0).fold(usage, |usage, (name, count)| usage.extra(name, count))
}

fn less(name: &'static str, whole: u64, part: u64) -> Result<u64, Error> {
    whole.checked_sub(part).ok_or_else(|| refuse(name, part, "a part of the tokens, so no more than them"))
}

fn more(name: &'static str, some: u64, others: u64) -> Result<u64, Error> {
    some.checked_add(others).ok_or_else(|| refuse(name, some, "at most 2^63 - 1, with what belongs to it"))
}

fn refuse(name: &str, value: impl std::fmt::Display, expected: &'static str) -> Error {
    Error::invalid(format!("usage.{name}"), value, expected)
}
