import Testing
import ToroCore
import ToroTesting

@Core private final class Log {
    var entries: [String] = []
}

@Suite struct VirtualClockTests {
    @Test @Core func timersFireInOrderOfDeadlineThenOfScheduling() async {
        let clock = VirtualClock()
        let log = Log()
        for (name, second) in [("c", 3), ("a1", 1), ("b", 2), ("a2", 1)] as [(String, UInt64)] {
            _ = clock.schedule(at: clock.now + .seconds(second)) {
                log.entries.append(name + "@" + String(clock.now.nanoseconds / 1_000_000_000))
            }
        }
        #expect(clock.pendingTimers == 4)
        #expect(clock.nextDeadline == Instant(nanoseconds: 1_000_000_000))
        await clock.advance(by: .seconds(2))
        #expect(log.entries == ["a1@1", "a2@1", "b@2"])
        await clock.advance(by: .seconds(2))
        #expect(log.entries.last == "c@3")
        #expect(clock.now == Instant(nanoseconds: 4_000_000_000))
        #expect(clock.pendingTimers == 0 && clock.firedTimers == 4)
    }

    @Test @Core func whatATimerWakesRunsBeforeTheNextTimer() async {
        let clock = VirtualClock()
        let log = Log()
        _ = clock.schedule(at: clock.now + .seconds(1)) {
            Task { @Core in
                await Task { @Core in log.entries.append("woken") }.value
                _ = clock.schedule(at: clock.now + .milliseconds(500)) {
                    log.entries.append("nested")
                }
            }
        }
        _ = clock.schedule(at: clock.now + .seconds(2)) { log.entries.append("second") }
        await clock.advance(by: .seconds(2))
        #expect(log.entries == ["woken", "nested", "second"])
    }

    @Test @Core func aCancelledTimerDoesNotFire() async {
        let clock = VirtualClock()
        let log = Log()
        let timer = clock.schedule(at: clock.now + .seconds(1)) { log.entries.append("fired") }
        clock.cancel(timer)
        clock.cancel(timer)
        await clock.advance(by: .seconds(2))
        #expect(log.entries.isEmpty && clock.pendingTimers == 0)
    }

    @Test @Core func aTimerThatIsDueFiresWithoutTheClockMovingButNotAtOnce() async {
        let clock = VirtualClock(now: Instant(nanoseconds: 5))
        let log = Log()
        _ = clock.schedule(at: Instant(nanoseconds: 4)) { log.entries.append("fired") }
        #expect(log.entries.isEmpty)
        await HostRunLoop.shared.settle()
        #expect(log.entries == ["fired"])
        #expect(clock.now == Instant(nanoseconds: 5))
    }

    @Test @Core func theEndOfTimeNeverComes() async {
        let clock = VirtualClock()
        let log = Log()
        _ = clock.schedule(at: .distantFuture) { log.entries.append("fired") }
        await clock.advance(to: .distantFuture)
        #expect(log.entries.isEmpty && clock.pendingTimers == 1)
    }

    @Test @Core func civilTimeRunsAlong() async {
        let clock = VirtualClock(wallTime: WallTime(seconds: -1, nanoseconds: 900_000_000))
        await clock.advance(by: .milliseconds(1_200))
        #expect(clock.wallTime == WallTime(seconds: 1, nanoseconds: 100_000_000))
        clock.wallTime = nil
        await clock.advance(by: .seconds(1))
        #expect(clock.wallTime == nil)
    }
}
