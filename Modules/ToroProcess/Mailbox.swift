import Synchronization
import ToroCore

/// Where other cores leave work for one core: the only place where cores meet (rule 1 of the
/// house).
///
/// Any core may post, only the owner delivers; there is no lock, and posting never waits. What a
/// piece of work captures of the posting core's may only be handed back to that core: to start
/// work on another core and await its result is to post work there that posts work back.
@safe public final class Mailbox: @unchecked Sendable {
    /// A piece of work, linked to the one posted before it.
    private final class Letter {
        let work: @Core @Sendable () -> Void
        /// The retained letter posted before this one, as ``newest`` has it.
        var previous: UInt = 0

        init(_ work: @escaping @Core @Sendable () -> Void) { self.work = work }
    }

    /// The letter posted last, a retained reference; 0 if there is none.
    private let newest = Atomic<UInt>(0)

    /// An empty mailbox.
    public init() {}

    deinit {
        var next = takeAll()
        while let letter = next { next = Mailbox.letter(letter.previous) }
    }

    /// Leaves `work` for the owner. True if the mailbox was empty: the owner may sleep and has to
    /// be woken. O(1), on any core.
    public func post(_ work: @escaping @Core @Sendable () -> Void) -> Bool {
        let letter = Letter(work)
        // SAFETY: `letter(_:)` takes the reference back, once.
        let reference = unsafe UInt(bitPattern: Unmanaged.passRetained(letter).toOpaque())
        var before = newest.load(ordering: .relaxed)
        while true {
            letter.previous = before
            let (done, found) = newest.weakCompareExchange(
                expected: before, desired: reference, ordering: .releasing)
            if done { return before == 0 }
            before = found
        }
    }

    /// Runs what was posted, in the order of posting; false if there was nothing. On the owner
    /// only.
    @Core public func deliver() -> Bool {
        guard newest.load(ordering: .relaxed) != 0 else { return false }
        var inOrder: [Letter] = []
        var next = takeAll()
        while let letter = next {
            inOrder.append(letter)
            next = Mailbox.letter(letter.previous)
        }
        for letter in inOrder.reversed() { letter.work() }
        return true
    }

    /// Takes the whole chain out and returns its newest letter.
    private func takeAll() -> Letter? {
        Mailbox.letter(newest.exchange(0, ordering: .acquiring))
    }

    private static func letter(_ reference: UInt) -> Letter? {
        guard let pointer = unsafe UnsafeRawPointer(bitPattern: reference) else { return nil }
        // SAFETY: `post` retained the letter, and each link of the chain is followed once.
        return unsafe Unmanaged<Letter>.fromOpaque(pointer).takeRetainedValue()
    }
}
