import ToroCore
import ToroMicroVM
import ToroProcess

/// Time.
enum Clocks {
    @Core static var experiments: [Experiment] {
        [
            Experiment("clock") { _ throws(ProbeError) in
                let first = Core.clock.now
                for _ in 0..<1000 {
                    guard Core.clock.now >= first else { throw .failed("time went backwards") }
                }
                guard let time = Core.clock.wallTime else { throw .failed("no wall time") }
                let digits = String(time.nanoseconds)
                let zeros = String(repeating: "0", count: 9 - digits.utf8.count)
                print("wall " + String(time.seconds) + "." + zeros + digits)
            },
            // Time zero is the first instruction of the guest.
            Experiment("uptime") { _ in print("uptime " + String(Core.clock.now.nanoseconds)) },
            Experiment("sleep") { vm throws(ProbeError) in try await sleepInOrder(vm) },
        ]
    }

    /// Three sleepers wake up in the order of their deadlines, none of them early.
    @Core private static func sleepInOrder(_ vm: MicroVM) async throws(ProbeError) {
        let order = Channel<UInt64>(capacity: 3)
        let start = Core.clock.now
        let before = vm.statistics
        for span: UInt64 in [900, 300, 600] {
            // Deadlines, not spans: a busy host may let the tasks begin far apart. It seldom keeps a
            // guest from its halt until they are over.
            Task { await report(span, after: start, order) }
        }
        for expected: UInt64 in [300, 600, 900] {
            do throws(Cancelled) {
                guard try await order.receive() == expected else {
                    throw Cancelled()
                }
            } catch {
                throw .failed("sleepers woke up in another order")
            }
            guard Core.clock.now - start >= .milliseconds(expected) else {
                throw .failed("a sleeper woke up early")
            }
        }
        let after = vm.statistics
        print(
            "slept in order: " + String(after.halts - before.halts) + " halts, "
                + String(after.jobs - before.jobs) + " jobs")
    }

    @Core private static func report(
        _ span: UInt64, after start: Instant, _ order: Channel<UInt64>
    ) async {
        do throws(Cancelled) {
            try await sleep(until: start + .milliseconds(span))
        } catch {
            return
        }
        do throws(ChannelError) { try await order.send(span) } catch { return }
    }
}
