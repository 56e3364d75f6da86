"""What decides: trained policies, how they are made, and how they travel. Only the trainers import torch."""
