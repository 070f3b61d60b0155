/// Something to do once the events at hand are handled: once, however often it is asked for.
public final class ResumeOnce {
    private let loop: EventLoop
    private let action: () -> Void
    /// Whether it is still to be done.
    public private(set) var isDue = false

    /// Nothing that is due yet. The loop keeps `action` no longer than this object lives.
    public init(_ loop: EventLoop, _ action: @escaping () -> Void) {
        self.loop = loop
        self.action = action
    }

    /// Asks for it.
    public func soon() {
        guard !isDue else { return }
        isDue = true
        loop.next { [weak self] in
            self?.isDue = false
            self?.action()
        }
    }
}
