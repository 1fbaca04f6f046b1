//! Carries out a plan, recording each step before it acts.
