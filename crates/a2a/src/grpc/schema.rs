//! The messages of `a2a.proto` (A2A 1.0.1, package `lf.a2a.v1`) as tables: numbers, names in JSON, kinds.

/// A message.
#[derive(Debug)]
pub(super) struct Schema(pub(super) &'static [Field]);

/// A field of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) number: u32,
    /// The name in ProtoJSON.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) is_list: bool,
}

/// The kind of a field.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Text,
    /// Bytes: base64 in JSON.
    Bytes,
    Flag,
    /// An `int32`.
    Number,
    /// An enum, with its names by number.
    Enum(&'static [&'static str]),
    Message(&'static Schema),
    /// A map from texts to this.
    Map(&'static Kind),
    /// `google.protobuf.Timestamp`.
    Time,
    /// `google.protobuf.Duration`.
    Duration,
    /// `google.protobuf.Struct`.
    Struct,
    /// `google.protobuf.Value`.
    Value,
}

const fn one(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, is_list: false }
}

const fn list(number: u32, name: &'static str, kind: Kind) -> Field {
    Field { number, name, kind, is_list: true }
}

const fn text(number: u32, name: &'static str) -> Field {
    one(number, name, Kind::Text)
}

const fn texts(number: u32, name: &'static str) -> Field {
    list(number, name, Kind::Text)
}

const fn flag(number: u32, name: &'static str) -> Field {
    one(number, name, Kind::Flag)
}

const fn number(number: u32, name: &'static str) -> Field {
    one(number, name, Kind::Number)
}

const fn message(number: u32, name: &'static str, schema: &'static Schema) -> Field {
    one(number, name, Kind::Message(schema))
}

const fn messages(number: u32, name: &'static str, schema: &'static Schema) -> Field {
    list(number, name, Kind::Message(schema))
}

const fn object(number: u32, name: &'static str) -> Field {
    one(number, name, Kind::Struct)
}

const STATES: Kind = Kind::Enum(&[
    "TASK_STATE_UNSPECIFIED",
    "TASK_STATE_SUBMITTED",
    "TASK_STATE_WORKING",
    "TASK_STATE_COMPLETED",
    "TASK_STATE_FAILED",
    "TASK_STATE_CANCELED",
    "TASK_STATE_INPUT_REQUIRED",
    "TASK_STATE_REJECTED",
    "TASK_STATE_AUTH_REQUIRED",
]);

const ROLES: Kind = Kind::Enum(&["ROLE_UNSPECIFIED", "ROLE_USER", "ROLE_AGENT"]);

/// The message that a method takes.
pub(super) fn request(method: &str) -> Option<&'static Schema> {
    Some(match method {
        "SendMessage" | "SendStreamingMessage" => &SEND,
        "GetTask" => &GET,
        "ListTasks" => &LIST,
        "CancelTask" => &CANCEL,
        "SubscribeToTask" => &SUBSCRIBE,
        "CreateTaskPushNotificationConfig" => &PUSH_CONFIG,
        "GetTaskPushNotificationConfig" | "DeleteTaskPushNotificationConfig" => &ONE_PUSH,
        "ListTaskPushNotificationConfigs" => &PUSHES,
        "GetExtendedAgentCard" => &NOTHING,
        _ => return None,
    })
}

/// The message that a method answers with.
pub(super) fn response(method: &str) -> Option<&'static Schema> {
    Some(match method {
        "SendMessage" => &SEND_RESPONSE,
        "SendStreamingMessage" | "SubscribeToTask" => &STREAM_RESPONSE,
        "GetTask" | "CancelTask" => &TASK,
        "ListTasks" => &LIST_RESPONSE,
        "CreateTaskPushNotificationConfig" | "GetTaskPushNotificationConfig" => &PUSH_CONFIG,
        "ListTaskPushNotificationConfigs" => &PUSHES_RESPONSE,
        "GetExtendedAgentCard" => &CARD,
        _ => return None,
    })
}

static NOTHING: Schema = Schema(&[text(1, "tenant")]);

static SEND: Schema = Schema(&[
    text(1, "tenant"),
    message(2, "message", &MESSAGE),
    message(3, "configuration", &CONFIGURATION),
    object(4, "metadata"),
]);

static CONFIGURATION: Schema = Schema(&[
    texts(1, "acceptedOutputModes"),
    message(2, "taskPushNotificationConfig", &PUSH_CONFIG),
    number(3, "historyLength"),
    flag(4, "returnImmediately"),
]);

static GET: Schema = Schema(&[text(1, "tenant"), text(2, "id"), number(3, "historyLength")]);

static LIST: Schema = Schema(&[
    text(1, "tenant"),
    text(2, "contextId"),
    one(3, "status", STATES),
    number(4, "pageSize"),
    text(5, "pageToken"),
    number(6, "historyLength"),
    one(7, "statusTimestampAfter", Kind::Time),
    flag(8, "includeArtifacts"),
]);

static CANCEL: Schema = Schema(&[text(1, "tenant"), text(2, "id"), object(3, "metadata")]);

static SUBSCRIBE: Schema = Schema(&[text(1, "tenant"), text(2, "id")]);

static ONE_PUSH: Schema = Schema(&[text(1, "tenant"), text(2, "taskId"), text(3, "id")]);

static PUSHES: Schema =
    Schema(&[text(1, "taskId"), number(2, "pageSize"), text(3, "pageToken"), text(4, "tenant")]);

pub(super) static PUSH_CONFIG: Schema = Schema(&[
    text(1, "tenant"),
    text(2, "id"),
    text(3, "taskId"),
    text(4, "url"),
    text(5, "token"),
    message(6, "authentication", &AUTHENTICATION),
]);

static AUTHENTICATION: Schema = Schema(&[text(1, "scheme"), text(2, "credentials")]);

pub(super) static SEND_RESPONSE: Schema =
    Schema(&[message(1, "task", &TASK), message(2, "message", &MESSAGE)]);

pub(super) static STREAM_RESPONSE: Schema = Schema(&[
    message(1, "task", &TASK),
    message(2, "message", &MESSAGE),
    message(3, "statusUpdate", &STATUS_UPDATE),
    message(4, "artifactUpdate", &ARTIFACT_UPDATE),
]);

pub(super) static LIST_RESPONSE: Schema = Schema(&[
    messages(1, "tasks", &TASK),
    text(2, "nextPageToken"),
    number(3, "pageSize"),
    number(4, "totalSize"),
]);

pub(super) static PUSHES_RESPONSE: Schema =
    Schema(&[messages(1, "configs", &PUSH_CONFIG), text(2, "nextPageToken")]);

pub(super) static TASK: Schema = Schema(&[
    text(1, "id"),
    text(2, "contextId"),
    message(3, "status", &STATUS),
    messages(4, "artifacts", &ARTIFACT),
    messages(5, "history", &MESSAGE),
    object(6, "metadata"),
]);

static STATUS: Schema =
    Schema(&[one(1, "state", STATES), message(2, "message", &MESSAGE), one(3, "timestamp", Kind::Time)]);

static MESSAGE: Schema = Schema(&[
    text(1, "messageId"),
    text(2, "contextId"),
    text(3, "taskId"),
    one(4, "role", ROLES),
    messages(5, "parts", &PART),
    object(6, "metadata"),
    texts(7, "extensions"),
    texts(8, "referenceTaskIds"),
]);

pub(super) static PART: Schema = Schema(&[
    text(1, "text"),
    one(2, "raw", Kind::Bytes),
    text(3, "url"),
    one(4, "data", Kind::Value),
    object(5, "metadata"),
    text(6, "filename"),
    text(7, "mediaType"),
]);

static ARTIFACT: Schema = Schema(&[
    text(1, "artifactId"),
    text(2, "name"),
    text(3, "description"),
    messages(4, "parts", &PART),
    object(5, "metadata"),
    texts(6, "extensions"),
]);

static STATUS_UPDATE: Schema =
    Schema(&[text(1, "taskId"), text(2, "contextId"), message(3, "status", &STATUS), object(4, "metadata")]);

static ARTIFACT_UPDATE: Schema = Schema(&[
    text(1, "taskId"),
    text(2, "contextId"),
    message(3, "artifact", &ARTIFACT),
    flag(4, "append"),
    flag(5, "lastChunk"),
    object(6, "metadata"),
]);

pub(super) static CARD: Schema = Schema(&[
    text(1, "name"),
    text(2, "description"),
    messages(3, "supportedInterfaces", &INTERFACE),
    message(4, "provider", &PROVIDER),
    text(5, "version"),
    text(6, "documentationUrl"),
    message(7, "capabilities", &CAPABILITIES),
    one(8, "securitySchemes", Kind::Map(&Kind::Message(&SECURITY_SCHEME))),
    messages(9, "securityRequirements", &SECURITY_REQUIREMENT),
    texts(10, "defaultInputModes"),
    texts(11, "defaultOutputModes"),
    messages(12, "skills", &SKILL),
    messages(13, "signatures", &SIGNATURE),
    text(14, "iconUrl"),
]);

static INTERFACE: Schema =
    Schema(&[text(1, "url"), text(2, "protocolBinding"), text(3, "tenant"), text(4, "protocolVersion")]);

static PROVIDER: Schema = Schema(&[text(1, "url"), text(2, "organization")]);

static CAPABILITIES: Schema = Schema(&[
    flag(1, "streaming"),
    flag(2, "pushNotifications"),
    messages(3, "extensions", &EXTENSION),
    flag(4, "extendedAgentCard"),
]);

static EXTENSION: Schema =
    Schema(&[text(1, "uri"), text(2, "description"), flag(3, "required"), object(4, "params")]);

static SKILL: Schema = Schema(&[
    text(1, "id"),
    text(2, "name"),
    text(3, "description"),
    texts(4, "tags"),
    texts(5, "examples"),
    texts(6, "inputModes"),
    texts(7, "outputModes"),
    messages(8, "securityRequirements", &SECURITY_REQUIREMENT),
]);

static SIGNATURE: Schema = Schema(&[text(1, "protected"), text(2, "signature"), object(3, "header")]);

static SECURITY_REQUIREMENT: Schema = Schema(&[one(1, "schemes", Kind::Map(&Kind::Message(&STRING_LIST)))]);

static STRING_LIST: Schema = Schema(&[texts(1, "list")]);

static SECURITY_SCHEME: Schema = Schema(&[
    message(1, "apiKeySecurityScheme", &API_KEY),
    message(2, "httpAuthSecurityScheme", &HTTP_AUTH),
    message(3, "oauth2SecurityScheme", &OAUTH2),
    message(4, "openIdConnectSecurityScheme", &OPEN_ID),
    message(5, "mtlsSecurityScheme", &MTLS),
]);

static API_KEY: Schema = Schema(&[text(1, "description"), text(2, "location"), text(3, "name")]);

static HTTP_AUTH: Schema = Schema(&[text(1, "description"), text(2, "scheme"), text(3, "bearerFormat")]);

static OAUTH2: Schema =
    Schema(&[text(1, "description"), message(2, "flows", &FLOWS), text(3, "oauth2MetadataUrl")]);

static OPEN_ID: Schema = Schema(&[text(1, "description"), text(2, "openIdConnectUrl")]);

static MTLS: Schema = Schema(&[text(1, "description")]);

const SCOPES: Kind = Kind::Map(&Kind::Text);

static FLOWS: Schema = Schema(&[
    message(1, "authorizationCode", &AUTHORIZATION_CODE),
    message(2, "clientCredentials", &CLIENT_CREDENTIALS),
    message(5, "deviceCode", &DEVICE_CODE),
]);

static AUTHORIZATION_CODE: Schema = Schema(&[
    text(1, "authorizationUrl"),
    text(2, "tokenUrl"),
    text(3, "refreshUrl"),
    one(4, "scopes", SCOPES),
    flag(5, "pkceRequired"),
]);

static CLIENT_CREDENTIALS: Schema =
    Schema(&[text(1, "tokenUrl"), text(2, "refreshUrl"), one(3, "scopes", SCOPES)]);

static DEVICE_CODE: Schema = Schema(&[
    text(1, "deviceAuthorizationUrl"),
    text(2, "tokenUrl"),
    text(3, "refreshUrl"),
    one(4, "scopes", SCOPES),
]);

/// `google.rpc.ErrorInfo`.
pub(super) static ERROR_INFO: Schema =
    Schema(&[text(1, "reason"), text(2, "domain"), one(3, "metadata", Kind::Map(&Kind::Text))]);

/// `google.rpc.RetryInfo`.
pub(super) static RETRY_INFO: Schema = Schema(&[one(1, "retryDelay", Kind::Duration)]);
