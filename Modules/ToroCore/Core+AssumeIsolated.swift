extension Core {
    /// Runs `body` at once, in code that the compiler does not know to be `@Core` but that always
    /// runs there: cancellation handlers and `deinit`s, which rule 1 of the house confines to the
    /// owning core.
    ///
    /// On a host a call from any other thread traps; in a guest every task is in a run loop.
    public static nonisolated func assumeIsolated(_ body: @Core () -> Void) {
        #if !hasFeature(Embedded)
        Core.shared.preconditionIsolated()
        #endif
        withoutActuallyEscaping(body) { body in
            // SAFETY: the two types differ in isolation only, which has no representation in a
            // synchronous function, and the caller is on the core (see above).
            unsafe unsafeBitCast(body, to: (() -> Void).self)()
        }
    }
}
