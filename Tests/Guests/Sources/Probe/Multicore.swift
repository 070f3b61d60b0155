import ToroCore
import ToroMicroVM

/// More than one core.
enum Multicore {
    @Core static var experiments: [Experiment] {
        [
            Experiment("cores") { vm throws(ProbeError) in try await visit(vm.startCores()) },
            Experiment("foreign-core") { vm in await breakIn(vm.startCores()) },
        ]
    }

    /// Resumes a task of this core on another one, which must not go unnoticed.
    @Core private static func breakIn(_ cores: Cores) async {
        let answer = Waiter<Int>()
        cores.run(on: 1) { answer.resume(1) }
        print("answered " + String(await answer.wait()))
    }

    /// A message to each further core and one back, with memory allocated here and freed there.
    @Core private static func visit(_ cores: Cores) async throws(ProbeError) {
        for index in 1..<cores.count {
            let answer = Waiter<Int>()
            let letter = [UInt8](repeating: 7, count: 10_000)
            cores.run(on: index) {
                let sum = letter.reduce(0) { $0 + Int($1) }
                let place = Core.index
                cores.run(on: 0) { answer.resume(sum + place) }
            }
            guard await answer.wait() == 70_000 + index else {
                throw .failed("core " + String(index) + " answered wrongly")
            }
            print("core " + String(index) + " was there and back")
        }
        print("cores: " + String(cores.count))
        cores.goHome()
    }
}
