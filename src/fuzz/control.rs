//! Messages between processes while one starts another: of every kind, in the socket and in memory.

use std::fmt::Debug;
use std::os::fd::OwnedFd;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::descriptors;
use super::input::Input;
use crate::codec;
use crate::limits::Limits;
use crate::log::LogSettings;
use crate::pool::elsewhere::charter::Charter;
use crate::pool::host::charter;
use crate::pool::host::settings::Settings;
use crate::pool::protocol::messages::{self, Request};
use crate::start::ProcessSpec;
use crate::start::method::StartMethod;
use crate::start::wire::{self, Job, Report, ServerReply, ServerRequest, Setup, StopRequest};
use crate::sys::ipc::socket::Received;
use crate::sys::memory::sealed;
use crate::sys::program::environ::Environment;
use crate::unwind;

/// Byte 0: which header; byte 1: how it comes; then descriptors, then the message.
pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (header, way, count) = (input.byte(), input.byte(), input.below(4));
    let mut fds: Vec<OwnedFd> = (0..count).filter_map(|_| descriptors::one(&mut input)).collect();
    let rest = input.rest();
    let bytes = match way % 4 {
        // All of it from the input.
        0 => rest.to_vec(),
        1 => [&[0, 0], rest].concat(),
        2 => {
            fds.extend(sealed::seal(&[rest]).ok());
            vec![1, 1]
        }
        // Whatever the last descriptor is.
        _ => vec![1, 1],
    };
    let received = Received { bytes, fds, fds_lost: way & 0x80 != 0 };
    match header % 8 {
        0 => open::<Job>(received),
        1 => open::<Report>(received),
        2 => open::<Setup>(received),
        3 => open::<ServerRequest>(received),
        4 => open::<ServerReply>(received),
        5 => open::<StopRequest>(received),
        6 => elsewhere(&received.bytes),
        _ => task(&received.bytes),
    }
}

/// The settings of a pool of another machine.
fn elsewhere(bytes: &[u8]) {
    let charter = Charter::new(bytes.to_vec(), Vec::new());
    let Ok((settings, _)) = charter::read(&charter, 3) else { return };
    assert_eq!(settings.processes, 3);
    let again = charter::write(&settings).expect("it was read");
    assert!(charter::read(&again, 3).is_ok());
}

/// Tasks of a pool of another machine.
fn task(bytes: &[u8]) {
    let Some((request, frames)) = messages::understand(bytes) else { return };
    assert!(frames.len() <= bytes.len());
    let mut again = Vec::new();
    messages::put_request(&mut again, &request);
    assert!(messages::understand(&again).is_some());
}

fn open<Header: Serialize + DeserializeOwned + Debug>(mut received: Received) {
    let came = received.bytes.len();
    let Ok(message) = wire::open::<Header>(&mut received) else { return };
    let _ = format!("{:?}", message.header);
    let mut again = Vec::new();
    codec::encode_plain(&message.header, &mut again).expect("it was decoded");
    codec::decode_plain::<Header>(&again).expect("it was encoded");
    let payload: &[u8] = &message.payload;
    assert!(payload.len() <= came.max(1 << 16));
    // As a result is read.
    let _ = codec::decode::<Vec<Option<String>>>(payload, codec::table(message.fds));
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    fn seed<Header: Serialize>(number: u8, header: &Header, payload: &[u8]) -> [Vec<u8>; 3] {
        let mut bytes = Vec::new();
        codec::encode_plain(header, &mut bytes).expect("a header");
        let header = bytes;
        let length = u32::try_from(header.len()).expect("short").to_le_bytes();
        [1, 2, 3].map(|way| {
            let contents = [&length, header.as_slice(), payload].concat();
            match way {
                3 => [
                    &[number, 3, 1, 4, u8::try_from(contents.len()).unwrap_or(0)],
                    contents.as_slice(),
                ]
                .concat(),
                way => [&[number, way, 0], contents.as_slice()].concat(),
            }
        })
    }
    let mut environment = Environment::default();
    environment.push("A".as_ref(), "b".as_ref());
    let mut spec = ProcessSpec::new("Process".to_owned(), "name".to_owned(), vec![1, 2], 1 << 30);
    spec.limits = Limits::new().open_files(7).affinity([1]);
    spec.deadline = Some(Duration::from_secs(1));
    #[cfg(feature = "cage")]
    {
        spec.cage = Some(crate::Cage::new().read("/"));
    }
    let job = Job {
        spec,
        entry: None,
        program: "program".to_owned(),
        parent_name: "parent".to_owned(),
        parent_pid: 7,
        method: StartMethod::Spawn,
        log: LogSettings::now(),
        records: None,
        decode_limits: crate::DecodeLimits::new(),
        preload: Vec::new(),
        environment: Some(environment.clone()),
        streams: [true, false, true],
        directory: true,
        #[cfg(feature = "cage")]
        has_own_streams: true,
    };
    let payload = codec::encode(&vec![Some("text".to_owned()), None]).expect("a value").bytes;
    let mut seeds = Vec::new();
    seeds.extend(seed(0, &job, &payload));
    let panic = unwind::catch(|| std::panic::resume_unwind(Box::new("why"))).expect_err("a panic");
    for report in [
        Report::Untied,
        Report::Returned,
        Report::Panicked(panic),
        Report::BadArguments("a".to_owned()),
        Report::BadResult("b".to_owned()),
        Report::NotRun("c".to_owned()),
        Report::Exiting(-3),
        Report::Limit,
    ] {
        seeds.extend(seed(1, &report, &payload));
    }
    seeds.extend(seed(2, &Setup { preload: Vec::new(), environment }, &[]));
    seeds.extend(seed(3, &ServerRequest { number: 300, taken: Some(1), ahead: 2 }, &[]));
    for reply in [
        ServerReply::Ready { id: 3 },
        ServerReply::Died,
        ServerReply::Failed { errno: 11, request: 4 },
        ServerReply::Unfit("no".to_owned()),
        ServerReply::PreloadFailed("no".to_owned()),
    ] {
        seeds.extend(seed(4, &reply, &[]));
    }
    seeds.extend(seed(5, &StopRequest, &[]));
    let settings = Settings {
        processes: 3,
        name: Some("far".to_owned()),
        initializer: None,
        max_tasks: Some(3),
        max_growth: None,
        method: StartMethod::Spawn,
        forwards_records: true,
        onward: None,
        max_restarts: 3,
        grace: Duration::from_secs(1),
        deadline: Some(Duration::from_secs(1)),
        limits: Limits::new().open_files(7),
        temporary: None,
        #[cfg(feature = "cage")]
        cage: Some(crate::Cage::new().read("/")),
    };
    let charter = charter::write(&settings).expect("settings");
    seeds.push([&[6, 0, 0], charter.bytes()].concat());
    let request = Request::Tasks {
        entry: None,
        count: 3,
        chunk: None,
        first: 7,
        name: Some("name".to_owned()),
        deadline: Some((Duration::from_secs(1), Duration::ZERO)),
        limits: Some(Box::new(Limits::new().open_files(7))),
        traced: None,
        context: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
    };
    let mut bytes = vec![7, 0, 0];
    messages::put_request(&mut bytes, &request);
    seeds.push([bytes, vec![1, 5, 1, 6, 1, 7]].concat());
    seeds
}
