/// How long tests wait in real time.
public enum Patience {
    /// The seconds after which what a test waits for has not come. What comes ends the wait, so
    /// that only a test that fails takes so long; a machine that is slow or busy fails none. What
    /// must not be waited for takes longer than this, so that a test can tell.
    public static let seconds = 120.0
}
