import ToroCore
import ToroMicroVM

/// The console.
enum Speech {
    @Core static var experiments: [Experiment] {
        [Experiment("talk") { vm throws(ProbeError) in talk(vm) }]
    }

    /// As many lines as LINES says, with their numbers.
    @Core private static func talk(_ vm: MicroVM) {
        let count = vm.environment("LINES").flatMap { Int($0) } ?? 1
        for number in 0..<count {
            print(String(number) + " is a number, and a line has to be long to be a long one")
        }
    }
}
