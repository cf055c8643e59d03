use multiproc::Process;

fn shout(text: String) -> String {
    text.to_uppercase()
}

fn main() {
    //~ expected `(String,)`, found `String`
    //~ use a trailing comma to create a tuple with one element
    let _ = Process::new(shout, ("text".to_owned()));
}
