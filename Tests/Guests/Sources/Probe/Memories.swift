import ToroCore
import ToroMicroVM

/// Memory: typed failures.
enum Memories {
    @Core static var experiments: [Experiment] {
        [
            Experiment("buffer-memory") { _ throws(ProbeError) in try refuseBuffers() },
            Experiment("heap") { vm throws(ProbeError) in try exerciseHeap(vm) },
        ]
    }

    /// A buffer that cannot be had is a typed error, and what could be had comes back.
    private static func refuseBuffers() throws(ProbeError) {
        let refused: Bool
        do throws(OutOfMemory) {
            _ = try IOBuffer(capacity: 1 << 40)
            refused = false
        } catch {
            print(error.explanation)
            refused = true
        }
        guard refused else { throw .failed("a terabyte was there") }
    }

    /// A million operations (or STEPS of them) on the C heap, contents checked; none left behind.
    @Core private static func exerciseHeap(_ vm: MicroVM) throws(ProbeError) {
        let steps = vm.environment("STEPS").flatMap { UInt64($0) } ?? 1_000_000
        let before = vm.statistics
        let checked = try HeapExercise(seed: vm.environment("SEED").flatMap { UInt64($0) } ?? 1)
            .run(steps: steps)
        let after = vm.statistics
        guard after.liveObjects == before.liveObjects, after.liveBytes == before.liveBytes else {
            throw .failed(
                "left behind: " + String(after.liveObjects - before.liveObjects) + " objects, "
                    + String(after.liveBytes - before.liveBytes) + " bytes")
        }
        print("heap: " + String(steps) + " steps, " + String(checked) + " bytes checked")
    }
}
