import ToroCore

/// The exchanges under way, which wait at their gates, and the most there have been.
@Core final class Meter {
    var current = 0
    var peak = 0
    var total = 0
    var gates: [Waiter<Bool>] = []

    func pass() async {
        current += 1
        total += 1
        peak = max(peak, current)
        let gate = Waiter<Bool>()
        gates.append(gate)
        _ = await gate.wait()
        current -= 1
    }

    func openGates() {
        for gate in gates { gate.resume(true) }
        gates.removeAll()
    }
}
