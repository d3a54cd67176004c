//! A call over gRPC: what is read is written again, and read as the same.
#![no_main]

use bindu_a2a::grpc;
use libfuzzer_sys::fuzz_target;

const METHODS: [&str; 9] = [
    "SendMessage",
    "SendStreamingMessage",
    "GetTask",
    "ListTasks",
    "CancelTask",
    "SubscribeToTask",
    "CreateTaskPushNotificationConfig",
    "DeleteTaskPushNotificationConfig",
    "ListTaskPushNotificationConfigs",
];

fuzz_target!(|data: &[u8]| {
    let Some((method, message)) = data.split_first() else { return };
    let Some(method) = METHODS.get(usize::from(*method)) else { return };
    let Ok(call) = grpc::decode(method, message) else { return };
    let (method, message) = grpc::ask(&call).expect("a call of A2A 1.0");
    // Times are written with milliseconds, so the second reading is compared with the third.
    let call = grpc::decode(method, &message).expect("what we have written");
    let (method, message) = grpc::ask(&call).expect("a call of A2A 1.0");
    assert_eq!(grpc::decode(method, &message), Ok(call));
});
