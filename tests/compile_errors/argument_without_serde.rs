use multiproc::Process;

struct Order {
    _number: u32,
}

fn deliver(_: Order) {}

fn main() {
    //~ the trait bound `Order: serde::Serialize` is not satisfied
    //~ adding `#[derive(serde::Serialize)]` to your `Order` type
    //~ adding `#[derive(serde::Deserialize)]` to your `Order` type
    let _ = Process::new(deliver, (Order { _number: 1 },));
}
