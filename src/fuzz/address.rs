//! Addresses, as text and as they cross.

use crate::Address;
use crate::codec;

pub(super) fn run(data: &[u8]) {
    if let Ok(address) = codec::decode::<Address>(data, Vec::new()) {
        let _ = (address.to_string(), format!("{address:?}"));
        let again = codec::encode(&address).expect("it was decoded");
        assert_eq!(codec::decode::<Address>(&again.bytes, Vec::new()).as_ref(), Ok(&address));
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    match text.parse::<Address>() {
        Ok(address) => {
            assert_eq!(address.to_string().parse::<Address>().as_ref().ok(), Some(&address))
        }
        Err(error) => assert!(error.to_string().contains("is not recognized")),
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "unix:/a/b",
        "abstract:name",
        "@name",
        "\0name",
        "tcp://127.0.0.1:80",
        "tcp://[::1%3]:80",
        "a/b",
        "/a",
    ];
    let parsed = texts.iter().filter_map(|text| text.parse::<Address>().ok());
    let crossed =
        parsed.filter_map(|address| codec::encode(&address).ok()).map(|parcel| parcel.bytes);
    texts.iter().map(|text| text.as_bytes().to_vec()).chain(crossed).collect()
}
