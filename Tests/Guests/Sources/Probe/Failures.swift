import ToroCore
import ToroMicroVM

/// Ways a service can go wrong.
enum Failures {
    @Core static var experiments: [Experiment] {
        [
            Experiment("throw") { _ throws(ProbeError) in throw .failed("thrown on purpose") },
            Experiment("trap") { vm in await outer(vm.arguments.count) },
            Experiment("memory") { _ in exhaust() },
        ]
    }

    // Three async calls deep: the report must name file and line of each.
    @inline(never) @Core private static func outer(_ index: Int) async {
        await middle(index + 1)
        print("outer is never back")
    }

    @inline(never) @Core private static func middle(_ index: Int) async {
        await Task.yield()
        await inner(index + 1)
        print("middle is never back")
    }

    @inline(never) @Core private static func inner(_ index: Int) async {
        await Task.yield()
        let numbers = [1, 2, 3]
        print(String(numbers[index]))
        print("inner is never back")
    }

    private static func exhaust() {
        var hoard: [[UInt8]] = []
        while true { hoard.append([UInt8](repeating: 1, count: 100_000)) }
    }
}
