import ToroCore

/// Why a channel took no element.
public enum ChannelError: ToroError, Equatable {
    /// The channel is finished.
    case finished
    /// The task was cancelled; the element was not sent.
    case cancelled

    /// What was wrong.
    public var explanation: String {
        switch self {
        case .finished: "the channel is finished and takes no element"
        case .cancelled: "the task was cancelled"
        }
    }
}

/// Elements in order from tasks to tasks of one core; a full channel holds its senders back.
@Core public final class Channel<Element: Sendable> {
    /// The elements that fit before a sender waits.
    public let capacity: Int
    private var elements: [Element] = []
    private var first = 0
    private let items = Semaphore(permits: 0)
    private let space: Semaphore
    private var isFinished = false

    /// A channel for `capacity` elements, 1 at least.
    public init(capacity: Int) {
        self.capacity = max(capacity, 1)
        space = Semaphore(permits: self.capacity)
    }

    /// The elements that wait in the channel.
    public var count: Int { elements.count - first }

    /// Adds an element; waits for room. Throws when the channel is finished or the task cancelled.
    public func send(_ element: Element) async throws(ChannelError) {
        do throws(Cancelled) {
            try await space.acquire()
        } catch {
            throw .cancelled
        }
        guard !isFinished else {
            space.release()
            throw .finished
        }
        elements.append(element)
        items.release()
    }

    /// The next element; waits for one. Nil once the channel is finished and empty.
    public func receive() async throws(Cancelled) -> Element? {
        try await items.acquire()
        guard count > 0 else {
            // Finished: the permit that says so goes on to the next receiver.
            items.release()
            return nil
        }
        let element = elements[first]
        first += 1
        if first == elements.count || first > capacity {
            elements.removeFirst(first)
            first = 0
        }
        space.release()
        return element
    }

    /// Takes no more elements; those that wait are still received. A second call does nothing.
    public func finish() {
        guard !isFinished else { return }
        isFinished = true
        items.release()
        space.release()
    }
}
