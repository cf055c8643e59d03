//! How values become bytes and back: serde with postcard.

use std::any::type_name;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value as bytes; the reason if its type refuses.
pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, String> {
    postcard::to_stdvec(value).map_err(|error| format!("{}: {error}", type_name::<T>()))
}

/// A value from all of `bytes`; the reason if they are not one of this type, or too many.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{}: {} bytes too many", type_name::<T>(), rest.len())),
        Err(error) => Err(format!("{}: {error}", type_name::<T>())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out() {
        let value = (1_u8, "text".to_owned(), vec![Some(2.5_f64), None]);
        assert_eq!(decode(&encode(&value).expect("encode")), Ok(value));
    }

    #[test]
    fn too_few_and_too_many_bytes_are_refused() {
        let bytes = encode(&300_u32).expect("encode");
        assert!(decode::<u32>(&bytes[..1]).is_err());
        assert_eq!(decode::<u32>(&[bytes.as_slice(), &[0]].concat()).expect_err("trailing"), "u32: 1 bytes too many");
    }
}
