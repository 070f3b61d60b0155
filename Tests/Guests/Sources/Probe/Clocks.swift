import ToroCore
import ToroMicroVM

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
                print("wall " + String(time.seconds))
            }
        ]
    }
}
