import ToroCore
import ToroMicroVM

/// Memory: typed failures.
enum Memories {
    @Core static var experiments: [Experiment] {
        [
            Experiment("buffer-memory") { _ throws(ProbeError) in try refuseBuffers() }
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
}
