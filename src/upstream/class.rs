//! What an answer is, by its status and the names in it.

use super::fields::Fields;
use super::words::says;
use super::{Profile, Reply};
use crate::usage::Class;

use Class::{
    CallersFault, CredentialRefused, ModelRefused, NoVerdict, Overloaded, QuotaExhausted, RateLimited, Success,
    Transient,
};

/// Names that providers give to what went wrong, whatever the status they send along.
const NAMES: [(&str, Class); 45] = [
    ("insufficient_quota", QuotaExhausted),
    ("insufficient_user_quota", QuotaExhausted),
    ("insufficient_balance", QuotaExhausted),
    ("insufficient_credits", QuotaExhausted),
    ("billing_hard_limit_reached", QuotaExhausted),
    ("billing_not_active", QuotaExhausted),
    ("billing_error", QuotaExhausted),
    ("exceeded_current_quota_error", QuotaExhausted),
    ("ServiceQuotaExceededException", QuotaExhausted),
    ("rate_limit_exceeded", RateLimited),
    ("rate_limit_error", RateLimited),
    ("rate_limit_reached_error", RateLimited),
    ("usage_limit_reached", RateLimited),
    ("too_many_requests", RateLimited),
    ("RESOURCE_EXHAUSTED", RateLimited),
    ("ThrottlingException", RateLimited),
    ("TooManyRequestsException", RateLimited),
    ("overloaded_error", Overloaded),
    ("engine_overloaded", Overloaded),
    ("engine_overloaded_error", Overloaded),
    ("server_is_overloaded", Overloaded),
    ("slow_down", Overloaded),
    ("invalid_api_key", CredentialRefused),
    ("authentication_error", CredentialRefused),
    ("invalid_authentication_error", CredentialRefused),
    ("account_deactivated", CredentialRefused),
    ("UNAUTHENTICATED", CredentialRefused),
    ("API_KEY_INVALID", CredentialRefused),
    ("ACCESS_TOKEN_EXPIRED", CredentialRefused),
    ("CONSUMER_SUSPENDED", CredentialRefused),
    ("ExpiredToken", CredentialRefused),
    ("ExpiredTokenException", CredentialRefused),
    ("UnrecognizedClientException", CredentialRefused),
    ("InvalidClientTokenId", CredentialRefused),
    ("InvalidSignatureException", CredentialRefused),
    ("SignatureDoesNotMatch", CredentialRefused),
    ("MissingAuthenticationTokenException", CredentialRefused),
    ("model_not_found", ModelRefused),
    ("DeploymentNotFound", ModelRefused),
    ("ModelNotReadyException", Transient),
    ("ModelTimeoutException", Transient),
    ("ModelErrorException", Transient),
    ("ModelStreamErrorException", Transient),
    ("server_error", Transient),
    ("api_error", Transient),
];

/// Phrases that decide where a status has no name for what went wrong.
const PHRASES: [(u16, &str, Class); 7] = [
    (400, "credit balance is too low", QuotaExhausted),
    (400, "reached your specified API usage limits", QuotaExhausted),
    (400, "API key not valid", CredentialRefused),
    (400, "API key expired", CredentialRefused),
    (400, "this organization has been disabled", CredentialRefused),
    (400, "invalid project resource name", Transient),
    (403, "access to the model with the specified model ID", ModelRefused),
];

/// The class of an answer that came in whole.
pub(super) fn of(status: u16, reply: &Reply<'_>, fields: &Fields, profile: Profile) -> Class {
    let served = (200..300).contains(&status);
    if served && !fields.is_error {
        return Success;
    }
    // A stream that has begun keeps its status, and says in its error what it would have been.
    let status = if served { fields.number().unwrap_or(status) } else { status };
    // The request is larger than the whole limit, so that waiting would not help it.
    if status == 413 {
        return CallersFault;
    }
    let phrase = |(of, phrase, class): &(u16, &str, Class)| {
        let says = *of == status && says(fields.message.as_deref().unwrap_or_default().as_bytes(), phrase);
        says.then_some(*class)
    };
    named(reply, fields, profile)
        .or_else(|| PHRASES.iter().find_map(phrase))
        .unwrap_or_else(|| by_status(status, fields, profile))
}

fn named(reply: &Reply<'_>, fields: &Fields, profile: Profile) -> Option<Class> {
    let Fields { code, kind, status, reason, .. } = fields;
    let exception = if profile == Profile::Bedrock { reply.header("x-amzn-errortype") } else { None };
    [exception, code.as_deref(), reason.as_deref(), kind.as_deref(), status.as_deref()].into_iter().flatten().find_map(
        |name| {
            // `com.example#ThrottlingException:http://...` is what it is called in between.
            let name = name.rsplit('#').next().and_then(|name| name.split(':').next())?.trim();
            NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, class)| *class)
        },
    )
}

fn by_status(status: u16, fields: &Fields, profile: Profile) -> Class {
    match status {
        401 => CredentialRefused,
        402 => QuotaExhausted,
        404 if is_of_a_model(fields) => ModelRefused,
        408 => Transient,
        429 => RateLimited,
        498 if profile == Profile::Groq => Overloaded,
        529 => Overloaded,
        500..600 => Transient,
        403 => NoVerdict,
        400..500 => CallersFault,
        _ => NoVerdict,
    }
}

/// Whether what was not found is a model, and no conversation, file or address.
fn is_of_a_model(fields: &Fields) -> bool {
    let message = fields.message.as_deref().unwrap_or_default();
    ["model", "models", "deployment"].iter().any(|word| says(message.as_bytes(), word))
}
