#if hasFeature(Embedded)
import CMicroVM
import ToroCore

final class CoreLoop: Timekeeper {
    nonisolated let clock: MachineClock
    nonisolated init(clock: MachineClock) { self.clock = clock }
    var now: Instant { clock.now }
    var wallTime: WallTime? { clock.wallTime }
    func schedule(at deadline: Instant, _ action: @escaping @Core () -> Void) -> TimerID {
        TimerID(number: 0)
    }
    func cancel(_ timer: TimerID) {}
    nonisolated static func enter(clock: MachineClock, ready: () -> Void) -> Never {
        ready(); CoreLoop(clock: clock).run()
    }
    nonisolated func run() -> Never {
        while true {
            while let job = unsafe toro_take_job() { unsafe toro_run_job(job) }
            toro_halt()
        }
    }
}
#endif
