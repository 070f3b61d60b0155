import Testing
import ToroCore
import ToroProcess
import ToroTesting

@Suite struct TimerQueueTests {
    /// Against a list that is sorted each time.
    @Test(arguments: FuzzSeeds.all(1...10)) @Core func agreesWithASortedList(_ first: UInt64) {
        for seed in FuzzSeeds(from: first) { compare(seed) }
    }

    @Core private func compare(_ seed: UInt64) {
        var random = SeededRandom(seed: seed)
        var queue = TimerQueue()
        let log = Log()
        var model: [(deadline: UInt64, order: Int, id: TimerID)] = []
        var fired: [TimerID] = []
        var now: UInt64 = 0
        for order in 0..<2_000 {
            switch random.below(4) {
            case 0, 1:
                let deadline = now + UInt64(random.below(50))
                let id = queue.schedule(at: Instant(nanoseconds: deadline)) {
                    log.entries.append(order)
                }
                model.append((deadline, order, id))
            case 2 where !model.isEmpty:
                let index = random.below(model.count)
                queue.cancel(model[index].id)
                // Once more, and one that has fired: nothing happens.
                queue.cancel(model[index].id)
                if let old = fired.last { queue.cancel(old) }
                model.remove(at: index)
            default:
                now += UInt64(random.below(20))
                model.sort { ($0.deadline, $0.order) < ($1.deadline, $1.order) }
                #expect(queue.next?.nanoseconds == model.first?.deadline)
                while let action = queue.popDue(at: Instant(nanoseconds: now)) {
                    action()
                    let first = model.removeFirst()
                    fired.append(first.id)
                    #expect(first.deadline <= now)
                    #expect(log.entries.last == first.order)
                }
                #expect((model.first?.deadline ?? .max) > now)
            }
            #expect(queue.count == model.count)
        }
    }

    @Test @Core func theEndOfTimeNeverComes() {
        var queue = TimerQueue()
        _ = queue.schedule(at: .distantFuture) {}
        #expect(queue.popDue(at: .distantFuture) == nil)
    }
}

/// What happened, in order.
@Core final class Log {
    var entries: [Int] = []
}
