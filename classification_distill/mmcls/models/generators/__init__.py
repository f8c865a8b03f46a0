from .ddpm_trainer import DDPMTrainer

__all__ = ['DDPMTrainer']
